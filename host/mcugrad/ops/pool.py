"""Global average pool and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcugrad.ir import DType, Node, ScaleRef, Value
from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from mcugrad.ops.op import Attrs, Fields, Gradients, gradient_multiplier, register, shifted


def avgpool(x: Array, *, mult: int, shift: int, zero_in: int, zero_out: int, **_: Any) -> tuple[Array]:
    acc = x.sum(axis=(0, 1), dtype=np.int64) - x.shape[0] * x.shape[1] * zero_in
    return (fixed.requantise(acc, mult, shift, zero_out)[0],)


def avgpool_dx(dy: Array, *, m: int, in_shape: tuple[int, int], **_: Any) -> tuple[Array]:
    return (np.broadcast_to(fixed.scale_by(dy, m), (*in_shape, dy.size)).copy(),)


def _gradient(g: Gradients, node: Node) -> None:
    x = g.value(node.ins[0])
    if not g.needed(x.name):
        return
    dy = g.value(g.of(node.outs[0]))
    assert isinstance(dy.quant, ScaleRef)
    m, k = gradient_multiplier(np.array(node.attrs["ratio"] / (x.shape[0] * x.shape[1])))
    out = Value(f"{node.layer}.dx", DType.S16, x.shape, shifted(dy.quant, k))
    g.add(x.name, g.node("avgpool_dx", node.layer, out, (dy.name,), m=int(m), in_shape=x.shape[:2]))


def _map(value: Value) -> Fields:
    h, w, c = value.shape
    return {"n": h * w, "c": c}


def _fields(ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
    return _map(ins[0]) | {k: attrs[k] for k in ("mult", "shift", "zero_in", "zero_out")}


register(
    "avgpool",
    outs="y:s8",
    ins="x:s8",
    params="avgpool",
    shapes=lambda ins, a: ((ins[0].shape[2],),),
    ref=avgpool,
    fields=_fields,
    grad=_gradient,
)
register(
    "avgpool_dx",
    outs="dx:s16",
    ins="dy:s16",
    params="avgpool_dx",
    phase="backward",
    shapes=lambda ins, a: ((*a["in_shape"], ins[0].size),),
    ref=avgpool_dx,
    fields=lambda i, o, a: _map(o[0]) | {"m": a["m"]},
)
