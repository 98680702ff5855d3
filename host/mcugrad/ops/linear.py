"""The float32 head: logits, the gradient of its input, and where gradients become integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcugrad.ir import DType, Node, ScaleRef, Value
from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from mcugrad.ops.op import Attrs, Fields, Gradients, register, size_of_first

F32 = np.float32
TOP_BITS = 13  # length of the largest magnitude after quantise_dx
TINY = -96  # gradients whose largest magnitude is below 2^TINY count as zero


def dequantise(x: Array, zero: int, scale: float) -> Array:
    return (x.astype(np.int32) - zero).astype(F32) * F32(scale)


def linear(x: Array, w: Array, b: Array, *, zero: int, scale: float, **_: Any) -> tuple[Array]:
    """Features in ascending order, each product and sum rounded to float32."""
    real, logits = dequantise(x, zero, scale), b.copy()
    for i in range(x.size):
        logits = logits + w[:, i] * real[i]
    return (logits,)


def linear_dx(dlogits: Array, w: Array, *, scale: float, **_: Any) -> tuple[Array]:
    dx = np.zeros(w.shape[1], F32)
    for c in range(dlogits.size):
        dx = dx + dlogits[c] * w[c]
    return (dx * F32(scale),)


def quantise_dx(d: Array, dx_scale: Array, **_: Any) -> tuple[Array, Array]:
    """Exact block exponent: the largest magnitude lands in [2^12, 2^13]."""
    top = int(np.abs(d).max().astype(F32).view(np.uint32) >> 23) - 127
    if top < TINY or top == 128:
        return np.zeros(d.shape, np.int16), np.array([0, *dx_scale[1:3], 0], np.int16)
    q = fixed.round_away(d * fixed.power_of_two(12 - top)).astype(np.int16)
    return q, np.array([top - 12, *dx_scale[1:3], TOP_BITS], np.int16)


def linear_sgd(
    w: Array, b: Array, dlogits: Array, x: Array, lr: Array, *, zero: int, scale: float, **_: Any
) -> tuple[Array, Array]:
    step = lr[0] * dlogits
    return w - step[:, None] * dequantise(x, zero, scale), b - step


def _gradient(g: Gradients, node: Node) -> None:
    x, w, b = node.ins
    dlogits = g.of(node.outs[0])
    attrs = {"zero": node.attrs["zero"], "scale": node.attrs["scale"]}
    if g.trained(w):
        g.update("head", (w, b), (dlogits, x), node=node)
    if g.needed(x):
        state = g.scale_state(f"{node.layer}.dx_scale")
        real = g.node(
            "linear_dx",
            node.layer,
            Value(f"{node.layer}.df", DType.F32, g.value(x).shape),
            (dlogits, w),
            **attrs,
        )
        out = Value(f"{node.layer}.dx", DType.S16, g.value(x).shape, ScaleRef(state, 0))
        g.add(x, g.node("quantise_dx", node.layer, out, (real, state)))


def _fields(w: Value, attrs: Attrs) -> Fields:
    return {
        "features": w.shape[1],
        "classes": w.shape[0],
        "zero": attrs["zero"],
        "scale": float(F32(attrs["scale"])),
    }


def _size(ins: Sequence[Value], outs: Sequence[Value]) -> int:
    return max(v.size for v in ins)


register(
    "linear",
    outs="logits:f32",
    ins="x:s8 w:f32 b:f32",
    params="linear",
    shapes=lambda ins, a: ((ins[1].shape[0],),),
    ref=linear,
    fields=lambda i, o, a: _fields(i[1], a),
    macs=_size,
    grad=_gradient,
)
register(
    "linear_dx",
    outs="dx:f32",
    ins="dlogits:f32 w:f32",
    params="linear",
    phase="backward",
    shapes=lambda ins, a: ((ins[1].shape[1],),),
    ref=linear_dx,
    fields=lambda i, o, a: _fields(i[1], a),
    macs=_size,
)
register(
    "quantise_dx",
    outs="dx:s16",
    ins="d:f32 dx_scale:scale",
    inout="dx_scale",
    params="count",
    phase="backward",
    shapes=lambda ins, a: (ins[0].shape,),
    ref=quantise_dx,
    fields=size_of_first,
)
register(
    "linear_sgd",
    outs="",
    ins="w:f32 b:f32 dlogits:f32 x:s8 lr:f32",
    inout="w b",
    params="linear",
    phase="update",
    shapes=lambda ins, a: (),
    ref=linear_sgd,
    fields=lambda i, o, a: _fields(i[0], a),
    macs=_size,
)
