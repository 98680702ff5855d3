"""Convolutions (standard and depthwise) and their gradients; maps HWC, weights OHWI or HWC (depthwise)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcugrad.ir import DType, Node, ScaleRef, Value
from mcugrad.ir.graph import Array
from mcugrad.ops import fixed, work
from mcugrad.ops.op import (
    Attrs,
    Fields,
    Gradients,
    Place,
    Shapes,
    gradient_multiplier,
    over,
    register,
    shifted,
)


def windows(x: Array, kernel: tuple[int, int], stride: int, pad: int) -> Array:
    """Zero-padded patches, float64 [OH, OW, C, KH, KW]; integers stay exact far beyond int32."""
    padded = np.pad(x.astype(np.float64), ((pad, pad), (pad, pad), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(0, 1))[::stride, ::stride]


def _finish(acc: Array, b: Array, m: Array, attrs: Attrs) -> tuple[Array, Array]:
    y, inside = fixed.requantise(acc.astype(np.int64) + b, m, attrs["shift"], attrs["zero_out"])
    return y, fixed.pack_bits(inside)


def conv2d(x: Array, w: Array, b: Array, m: Array, **attrs: Any) -> tuple[Array, Array]:
    patches = windows(x.astype(np.int32) - attrs["zero_in"], w.shape[1:3], attrs["stride"], attrs["pad"])
    acc = np.tensordot(patches, w.astype(np.float64), axes=([3, 4, 2], [1, 2, 3]))
    return _finish(acc, b, m, attrs)


def depthwise_conv2d(x: Array, w: Array, b: Array, m: Array, **attrs: Any) -> tuple[Array, Array]:
    patches = windows(x.astype(np.int32) - attrs["zero_in"], w.shape[:2], attrs["stride"], attrs["pad"])
    acc = np.einsum("ijckl,klc->ijc", patches, w.astype(np.float64))
    return _finish(acc, b, m, attrs)


def clamp_dx(dy: Array, mask: Array, m: Array, **_: Any) -> tuple[Array]:
    da = fixed.scale_by(dy, m)
    return (np.where(fixed.unpack_bits(mask, dy.shape), da, 0).astype(np.int16),)


def _scatter(parts: Array, shape: tuple[int, ...], attrs: Attrs) -> Array:
    """Transposed convolution: parts [OH, OW, C, KH, KW] added back to where their windows lie."""
    h, w, c = shape
    stride, pad = attrs["stride"], attrs["pad"]
    oh, ow, _, kh, kw = parts.shape
    out = np.zeros((max(h + 2 * pad, (oh - 1) * stride + kh), max(w + 2 * pad, (ow - 1) * stride + kw), c))
    for i in range(kh):
        for j in range(kw):
            out[i : i + stride * oh : stride, j : j + stride * ow : stride] += parts[:, :, :, i, j]
    return out[pad : pad + h, pad : pad + w]


def _dx(
    parts: Array, da_scale: Array, dx_scale: Array, channels: int, attrs: Attrs, expected: int | None = None
) -> tuple[Array, Array]:
    acc = _scatter(parts, (*attrs["in_shape"], channels), attrs).astype(np.int64)
    exp, bits = int(da_scale[0]) + attrs["offset"], int(da_scale[3])
    return fixed.renormalise(acc, exp, bits, dx_scale, expected)


def conv2d_dx(da: Array, w: Array, da_scale: Array, dx_scale: Array, **attrs: Any) -> tuple[Array, ...]:
    parts = np.tensordot(da.astype(np.float64), w.astype(np.float64), axes=([2], [0]))
    return _dx(parts.transpose(0, 1, 4, 2, 3), da_scale, dx_scale, w.shape[3], attrs)


def depthwise_conv2d_dx(
    da: Array, w: Array, da_scale: Array, dx_scale: Array, **attrs: Any
) -> tuple[Array, ...]:
    """Its exponent does not depend on da's largest magnitude: da may be made channel by channel."""
    parts = da[:, :, :, None, None] * w.transpose(2, 0, 1).astype(np.float64)
    return _dx(parts, da_scale, dx_scale, w.shape[2], attrs, fixed.GRAD_BITS)


def _sums(total: Array) -> tuple[Array]:
    """Exact sums; over more than 256 pixels they could pass int32, and saturate."""
    saturated = fixed.saturate(total.astype(np.int64), 32)
    return (saturated.astype(np.int32),)


def conv2d_dw(da: Array, x: Array, *, kernel: tuple[int, int], **attrs: Any) -> tuple[Array]:
    patches = windows(x.astype(np.int32) - attrs["zero_in"], kernel, attrs["stride"], attrs["pad"])
    return _sums(np.tensordot(da.astype(np.float64), patches.transpose(0, 1, 3, 4, 2), ([0, 1], [0, 1])))


def depthwise_conv2d_dw(da: Array, x: Array, *, kernel: tuple[int, int], **attrs: Any) -> tuple[Array]:
    patches = windows(x.astype(np.int32) - attrs["zero_in"], kernel, attrs["stride"], attrs["pad"])
    return _sums(np.einsum("ijc,ijckl->klc", da.astype(np.float64), patches))


def conv2d_db(da: Array, **_: Any) -> tuple[Array]:
    return (da.sum(axis=(0, 1), dtype=np.int64).astype(np.int32),)


def _out_shape(ins: Sequence[Value], attrs: Attrs, kernel: tuple[int, ...], channels: int) -> Shapes:
    h, w = (
        (n + 2 * attrs["pad"] - k) // attrs["stride"] + 1 for n, k in zip(ins[0].shape, kernel, strict=False)
    )
    return ((h, w, channels), (h, w, channels))


def _geometry(x: Sequence[int], y: Sequence[int], kernel: Sequence[int], attrs: Attrs) -> Fields:
    names = "in_h in_w in_c out_h out_w out_c kernel_h kernel_w".split()
    fields: Fields = dict(zip(names, (*x, *y, *kernel), strict=True))
    fields |= {"stride": attrs["stride"], "pad": attrs["pad"], "pad_top": attrs["pad"]}
    return fields | {k: attrs.get(k, 0) for k in ("zero_in", "zero_out", "shift", "offset", "work")}


def _pixels(ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
    h, w, c = ins[0].shape
    return {"n": h * w, "c": c}


def _gradient(depthwise: bool, g: Gradients, node: Node) -> None:
    """da = dy masked and scaled; then the gradients of bias, weights and input, those that are needed."""
    x, w, b, _ = node.ins
    dy = g.of(node.outs[0])
    m, k = gradient_multiplier(node.attrs["s_eff"])
    gm = g.constant(f"{node.layer}.gm", DType.S32, m)
    scale = g.value(dy).quant
    assert isinstance(scale, ScaleRef)
    da_value = Value(f"{node.layer}.da", DType.S16, g.value(dy).shape, shifted(scale, k))
    da = g.node("clamp_dx", node.layer, da_value, (dy, g.mask(node), gm))
    if g.trained(b):
        db = g.node("conv2d_db", node.layer, _like(g, b, f"{node.layer}.db", da_value), (da,))
        g.update("bias", (b,), (db,), node=node, scale=da_value.quant)
    if g.trained(w):
        _weight_gradient(depthwise, g, node, da_value)
    if g.needed(x):
        _input_gradient(node.op, g, node, da_value)


PLANE, WIDEST = 256, work.LANE_PITCH  # pixels of da, columns with those beside them: what is taken in place
KEPT, COLUMNS = 1024, 16  # the same: pixels of x, columns of y


def _depthwise_place(ins: Sequence[Value], attrs: Attrs) -> Place:
    """From x's first byte on, if y is no larger: a channel of x is kept whole, or its rows ahead of y's."""
    h, w, _ = ins[0].shape
    ((oh, ow, _), _) = _out_shape(ins, attrs, ins[1].shape[:2], ins[1].shape[2])
    return "start" if oh <= h and ow <= w and h * w <= KEPT and ow <= COLUMNS else ""


def _depthwise_dx_place(ins: Sequence[Value], attrs: Attrs) -> Place:
    """Behind da's last byte, if each of its rows is read before dx comes to it; channel by channel."""
    (oh, ow), (h, w) = ins[0].shape[:2], attrs["in_shape"]
    behind = h * w - oh * ow
    read = (min((y + attrs["pad"]) // attrs["stride"] + 1, oh) * ow for y in range(h))
    in_time = all((y + 1) * w - behind <= pixels for y, pixels in enumerate(read))
    wide = work.lane_columns(w, ins[1].shape[1], attrs["stride"])
    return "end" if in_time and behind >= 0 and oh * ow <= PLANE and wide <= WIDEST else ""


def _like(g: Gradients, param: str, name: str, da: Value) -> Value:
    return Value(name, DType.S32, g.value(param).shape, da.quant)


def _weight_gradient(depthwise: bool, g: Gradients, node: Node, da: Value) -> None:
    x, w = node.ins[:2]
    index, shape, source = g.trained(w), g.value(w).shape, da.name
    if isinstance(index, tuple):
        shape, x = (*shape[:-1], len(index)), g.gathered(node, x, index)
        if depthwise:
            constant = g.constant(f"{node.layer}.index", DType.S32, np.array(index))
            part = Value(f"{node.layer}.da_part", DType.S16, (*da.shape[:2], len(index)), da.quant)
            source = g.node("gather_dx", node.layer, part, (da.name, constant))
    attrs = {k: node.attrs[k] for k in ("stride", "pad", "zero_in")}
    kernel = shape[:2] if depthwise else shape[1:3]
    out = Value(f"{node.layer}.dw", DType.S32, shape, da.quant)
    dw = g.node(f"{node.op}_dw", node.layer, out, (source, x), kernel=kernel, **attrs)
    g.update("weight", (w,), (dw,), node=node, scale=da.quant, index=index)


def _input_gradient(op: str, g: Gradients, node: Node, da: Value) -> None:
    x, w = node.ins[:2]
    assert isinstance(da.quant, ScaleRef)
    state = g.scale_state(f"{node.layer}.dx_scale")
    shape = g.value(x).shape
    attrs = {k: node.attrs[k] for k in ("stride", "pad")} | {"in_shape": shape[:2], "offset": da.quant.offset}
    out = Value(f"{node.layer}.dx", DType.S16, shape, ScaleRef(state, 0))
    g.add(x, g.node(f"{op}_dx", node.layer, out, (da.name, w, da.quant.state, state), **attrs))


FORWARD: dict[str, Any] = {"outs": "y:s8 mask?:bits", "ins": "x:s8 w:s8 b:s32 m:s32", "params": "conv"}
INPUT: dict[str, Any] = {
    "outs": "dx:s16",
    "ins": "da:s16 w:s8 da_scale:scale dx_scale:scale",
    "inout": "dx_scale",
    "params": "conv",
    "phase": "backward",
}
WEIGHT: dict[str, Any] = {"outs": "dw:s32", "ins": "da:s16 x:s8", "params": "conv", "phase": "backward"}

register(
    "conv2d",
    **FORWARD,
    shapes=lambda ins, a: _out_shape(ins, a, ins[1].shape[1:3], ins[1].shape[0]),
    ref=conv2d,
    work=work.conv2d,
    fields=lambda i, o, a: _geometry(i[0].shape, o[0].shape, i[1].shape[1:3], a),
    macs=lambda i, o: o[0].size * i[1].size // i[1].shape[0],
    grad=lambda g, node: _gradient(False, g, node),
)
register(
    "depthwise_conv2d",
    **FORWARD,
    inplace=_depthwise_place,
    shapes=lambda ins, a: _out_shape(ins, a, ins[1].shape[:2], ins[1].shape[2]),
    ref=depthwise_conv2d,
    work=lambda ins, a: work.depthwise_conv2d(ins, a, bool(_depthwise_place(ins, a))),
    fields=lambda i, o, a: _geometry(i[0].shape, o[0].shape, i[1].shape[:2], a),
    macs=lambda i, o: o[0].size * i[1].shape[0] * i[1].shape[1],
    grad=lambda g, node: _gradient(True, g, node),
)
register(
    "clamp_dx",
    outs="da:s16",
    ins="dy:s16 mask:bits m:s32",
    params="clamp",
    phase="backward",
    inplace=over,
    shapes=lambda ins, a: (ins[0].shape,),
    ref=clamp_dx,
    fields=_pixels,
)
register(
    "conv2d_dx",
    **INPUT,
    shapes=lambda ins, a: ((*a["in_shape"], ins[1].shape[3]),),
    ref=conv2d_dx,
    work=work.conv2d_dx,
    fields=lambda i, o, a: _geometry(o[0].shape, i[0].shape, i[1].shape[1:3], a),
    macs=lambda i, o: i[0].size * i[1].size // i[1].shape[0],
)
register(
    "depthwise_conv2d_dx",
    **INPUT,
    inplace=_depthwise_dx_place,
    shapes=lambda ins, a: ((*a["in_shape"], ins[1].shape[2]),),
    ref=depthwise_conv2d_dx,
    work=lambda ins, a: work.depthwise_conv2d_dx(ins, a, bool(_depthwise_dx_place(ins, a))),
    fields=lambda i, o, a: _geometry(o[0].shape, i[0].shape, i[1].shape[:2], a),
    macs=lambda i, o: i[0].size * i[1].shape[0] * i[1].shape[1],
)
register(
    "conv2d_dw",
    **WEIGHT,
    shapes=lambda ins, a: ((ins[0].shape[2], *a["kernel"], ins[1].shape[2]),),
    ref=conv2d_dw,
    work=lambda ins, a: work.conv2d_dw(ins[0], ins[1], a),
    fields=lambda i, o, a: _geometry(i[1].shape, i[0].shape, a["kernel"], a),
    macs=lambda i, o: i[0].shape[0] * i[0].shape[1] * o[0].size,
)
register(
    "depthwise_conv2d_dw",
    **WEIGHT,
    shapes=lambda ins, a: ((*a["kernel"], ins[0].shape[2]),),
    ref=depthwise_conv2d_dw,
    fields=lambda i, o, a: _geometry(i[1].shape, i[0].shape, a["kernel"], a),
    macs=lambda i, o: i[0].shape[0] * i[0].shape[1] * o[0].size,
)
register(
    "conv2d_db",
    outs="db:s32",
    ins="da:s16",
    params="clamp",
    phase="backward",
    shapes=lambda ins, a: ((ins[0].shape[2],),),
    ref=conv2d_db,
    fields=_pixels,
)
