"""Dynamic sparse gradients: only the output channels whose gradient is largest get weight gradients.

How many these are follows the loss, at run time. `active` is s32[K+1]: the count, then that many channels in
ascending order; the rest is undefined (here zero). Tensors of active channels are packed: an axis of K, the
most there can be, has the extent `count` in memory, and what follows the packed elements is undefined too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from mcugrad.ir import Value
from mcugrad.ir.graph import Array
from mcugrad.ops import conv, fixed
from mcugrad.ops.op import Attrs, Fields, get, register, size_of_first

ONE = 4096  # a share is counted in 1/4096
GROUP = 4  # counts are multiples of it, as the fast kernels want


def active_count(share: int, channels: int) -> int:
    """The channels that a share of them comes to: rounded up to a multiple of four, but no more than all."""
    return min(channels, -(-share * channels // (ONE * GROUP)) * GROUP)


def active_share(loss: Array, worst: Array, *, least: int, most: int, **_: Any) -> tuple[Array, Array]:
    """least + (most - least) * loss / (largest loss so far, this one included)."""
    worst = np.maximum(worst, loss) if loss[0] > worst[0] else worst
    with np.errstate(invalid="ignore"):
        part = loss / worst if worst[0] > 0 else np.zeros_like(loss)
    return (least + fixed.round_away(np.float32(most - least) * part)).astype(np.int32), worst


def channel_norms(da: Array, **_: Any) -> tuple[Array]:
    return (np.abs(da.astype(np.int64)).sum((0, 1)).astype(np.int32),)


def top_channels(norms: Array, share: Array, *, most: int, **_: Any) -> tuple[Array]:
    """The largest norms; of equal ones the lower channel."""
    count = active_count(int(share[0]), norms.size)
    chosen = np.argsort(-norms.astype(np.int64), kind="stable")[:count]
    active = np.zeros(1 + most, np.int32)
    active[: 1 + count] = [count, *np.sort(chosen)]
    return (active,)


def gather_active(x: Array, active: Array, **_: Any) -> tuple[Array]:
    return (_padded(x[..., active[1 : 1 + active[0]]], (*x.shape[:2], active.size - 1)),)


def conv2d_dw_dynamic(da: Array, x: Array, active: Array, **attrs: Any) -> tuple[Array]:
    (dw,) = conv.conv2d_dw(packed(da, active), x, **attrs)
    return (_padded(dw, (da.shape[2], *dw.shape[1:])),)


def depthwise_conv2d_dw_dynamic(da: Array, x: Array, active: Array, **attrs: Any) -> tuple[Array]:
    (dw,) = conv.depthwise_conv2d_dw(packed(da, active), packed(x, active), **attrs)
    return (_padded(dw, (*dw.shape[:2], da.shape[2])),)


def sgd_dynamic(
    w: Array,
    frac: Array,
    dw: Array,
    coef: Array,
    da_scale: Array,
    lr: Array,
    active: Array,
    index: Array | None = None,
    *,
    inner: int,
    **attrs: Any,
) -> tuple[Array, ...]:
    """sgd or sgd_partial with a gradient of zero, which changes nothing, outside the active channels."""
    axis = -1 if inner else 0
    whole = np.moveaxis(np.zeros(frac.shape, np.int32), axis, -1)
    whole[..., active[1 : 1 + active[0]]] = np.moveaxis(packed(dw, active, axis), axis, -1)
    ins = (w, frac, np.moveaxis(whole, -1, axis), coef, da_scale, lr)
    rule = get("sgd" if index is None else "sgd_partial").ref
    return rule(*ins, *(() if index is None else (index,)), inner=inner, **attrs)


def packed(x: Array, active: Array, axis: int = -1) -> Array:
    """The defined elements of a tensor of active channels, in their own shape."""
    shape = list(x.shape)
    shape[axis] = int(active[0])
    return x.reshape(-1)[: prod(shape)].reshape(shape)


def _padded(x: Array, shape: tuple[int, ...]) -> Array:
    out = np.zeros(prod(shape), x.dtype)
    out[: x.size] = x.reshape(-1)
    return out.reshape(shape)


def _sgd_fields(ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
    """As sgd's; trained: entries of the last axis that `frac` has."""
    return get("sgd").fields(ins[:6], outs, attrs) | {"trained": ins[1].shape[-1]}


BACKWARD: dict[str, Any] = {"phase": "backward"}
WEIGHT: dict[str, Any] = {
    "outs": "dw:s32",
    "ins": "da:s16 x:s8 active:s32",
    "params": "conv",
    "fields": get("conv2d_dw").fields,
    "macs": get("conv2d_dw").macs,  # of the largest count
    **BACKWARD,
}

register(
    "active_share",
    outs="share:s32",
    ins="loss:f32 worst:f32",
    inout="worst",
    params="share",
    shapes=lambda ins, a: ((1,),),
    ref=active_share,
    fields=lambda i, o, a: {k: a[k] for k in ("least", "most")},
    **BACKWARD,
)
register(
    "channel_norms",
    outs="norms:s32",
    ins="da:s16",
    params="clamp",
    shapes=lambda ins, a: ((ins[0].shape[2],),),
    ref=channel_norms,
    fields=get("conv2d_db").fields,
    **BACKWARD,
)
register(
    "top_channels",
    outs="active:s32",
    ins="norms:s32 share:s32",
    params="count",
    shapes=lambda ins, a: ((1 + a["most"],),),
    ref=top_channels,
    fields=size_of_first,
    **BACKWARD,
)
for _name, _type in (("gather_active", "s8"), ("gather_active_dx", "s16")):
    register(
        _name,
        outs=f"part:{_type}",
        ins=f"x:{_type} active:s32",
        params="clamp",
        shapes=lambda ins, a: ((*ins[0].shape[:2], ins[1].size - 1),),
        ref=gather_active,
        fields=get("conv2d_db").fields,
        **BACKWARD,
    )
register(
    "conv2d_dw_dynamic",
    **WEIGHT,
    shapes=lambda ins, a: ((ins[0].shape[2], *a["kernel"], ins[1].shape[2]),),
    ref=conv2d_dw_dynamic,
    work=get("conv2d_dw").work,
)
register(
    "depthwise_conv2d_dw_dynamic",
    **WEIGHT,
    shapes=lambda ins, a: ((*a["kernel"], ins[0].shape[2]),),
    ref=depthwise_conv2d_dw_dynamic,
)
register(
    "sgd_dynamic",
    outs="",
    ins="w:s8 frac:s8 dw:s32 coef:f32 da_scale:scale lr:f32 active:s32 index?:s32",
    inout="w frac",
    params="sgd",
    phase="update",
    shapes=lambda ins, a: (),
    ref=sgd_dynamic,
    fields=_sgd_fields,
)
