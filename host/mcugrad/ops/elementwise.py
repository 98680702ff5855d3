"""Residual add, its gradient, the sum of gradients that meet, and channel gathers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcugrad.ir import DType, Node, ScaleRef, Value
from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from mcugrad.ops.op import (
    Attrs,
    Fields,
    Gradients,
    gradient_multiplier,
    over,
    register,
    same_shape,
    shifted,
    size_of_first,
)

SUM_BITS = 8  # sums are aligned with this many bits below the larger exponent


def add(a: Array, b: Array, *, m1: int, m2: int, c: int, sh: int, **_: Any) -> tuple[Array]:
    acc = a.astype(np.int64) * m1 + b.astype(np.int64) * m2 + c
    return (fixed.saturate(acc >> sh, 8).astype(np.int8),)


def scale_dx(dy: Array, *, m: int, **_: Any) -> tuple[Array]:
    return (fixed.scale_by(dy, m),)


def sum_dx(
    a: Array,
    b: Array,
    a_scale: Array,
    b_scale: Array,
    dx_scale: Array,
    *,
    offset_a: int,
    offset_b: int,
    **_: Any,
) -> tuple[Array, ...]:
    exps = int(a_scale[0]) + offset_a, int(b_scale[0]) + offset_b
    top = max(exps)
    shifts = [min(top - e, 24) for e in exps]
    total = sum((q.astype(np.int64) << SUM_BITS) >> s for q, s in zip((a, b), shifts, strict=True))
    bits = max(int(state[3]) - s for state, s in zip((a_scale, b_scale), shifts, strict=True)) + SUM_BITS
    return fixed.renormalise(np.asarray(total), top - SUM_BITS, bits, dx_scale)


def gather(x: Array, index: Array, **_: Any) -> tuple[Array]:
    return (np.ascontiguousarray(x[:, :, index]),)


def gather_planes(x: Array, index: Array, **_: Any) -> tuple[Array]:
    """The same channel by channel: [K,H,W]."""
    return (np.ascontiguousarray(x[:, :, index].transpose(2, 0, 1)),)


def _add_gradient(g: Gradients, node: Node) -> None:
    """Straight through: each branch gets dy * s_branch / s_y."""
    for x, ratio, tag in zip(node.ins, (node.attrs["ratio1"], node.attrs["ratio2"]), "ab", strict=True):
        if g.needed(x):
            g.add(x, scaled(g, node, ratio, tag))


def scaled(g: Gradients, node: Node, ratio: float, tag: str) -> str:
    """The node's gradient times a real factor."""
    dy = g.value(g.of(node.outs[0]))
    assert isinstance(dy.quant, ScaleRef)
    m, k = gradient_multiplier(np.array(ratio))
    out = Value(f"{node.layer}.d{tag}", DType.S16, dy.shape, shifted(dy.quant, k))
    return g.node("scale_dx", node.layer, out, (dy.name,), m=int(m))


def _gather_fields(ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
    h, w, c = ins[0].shape
    return {"n": h * w, "c": c, "k": ins[1].size}


register(
    "add",
    outs="y:s8",
    ins="a:s8 b:s8",
    params="add",
    shapes=same_shape,
    ref=add,
    fields=lambda i, o, a: size_of_first(i, o, a) | {k: a[k] for k in ("m1", "m2", "c", "sh")},
    grad=_add_gradient,
)
register(
    "scale_dx",
    outs="dx:s16",
    ins="dy:s16",
    params="scale_dx",
    phase="backward",
    inplace=over,
    shapes=same_shape,
    ref=scale_dx,
    fields=lambda i, o, a: size_of_first(i, o, a) | {"m": a["m"]},
)
register(
    "sum_dx",
    outs="dx:s16",
    ins="a:s16 b:s16 a_scale:scale b_scale:scale dx_scale:scale",
    inout="dx_scale",
    params="sum_dx",
    phase="backward",
    inplace=over,
    shapes=same_shape,
    ref=sum_dx,
    fields=lambda i, o, a: size_of_first(i, o, a) | {k: a[k] for k in ("offset_a", "offset_b")},
)
for _name, _type, _phase in (("gather", "s8", "forward"), ("gather_dx", "s16", "backward")):
    register(
        _name,
        outs=f"y:{_type}",
        ins=f"x:{_type} index:s32",
        params="gather",
        phase=_phase,
        shapes=lambda ins, a: ((*ins[0].shape[:2], ins[1].size),),
        ref=gather,
        fields=_gather_fields,
    )
register(
    "gather_planes",
    outs="y:s8",
    ins="x:s8 index:s32",
    params="gather",
    shapes=lambda ins, a: ((ins[1].size, *ins[0].shape[:2]),),
    ref=gather_planes,
    fields=_gather_fields,
)
