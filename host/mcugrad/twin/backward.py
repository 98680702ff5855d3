"""Backward ops by name, in integers with an exponent for each sample: the op records' references, [N,...].

16-bit gradients are held in float32, 32-bit ones in float64, scale states in int64 [N,4].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mcugrad.ops.elementwise import SUM_BITS
from mcugrad.ops.fixed import GRAD_BITS
from mcugrad.ops.linear import TINY, TOP_BITS
from mcugrad.twin import fixed, sums
from mcugrad.twin.fixed import BITS, EXP, wide
from mcugrad.twin.forward import gather

INT32 = (-(2.0**31), 2.0**31 - 1)


def linear_dx(dlogits: Tensor, w: Tensor, *, scale: float, **_: Any) -> tuple[Tensor]:
    """Classes in ascending order, each product and sum rounded to float32."""
    dx = torch.zeros(len(dlogits), w.shape[1], device=w.device)
    for k, row in enumerate(w):
        dx += dlogits[:, k : k + 1] * row
    return (dx * scale,)


def quantise_dx(d: Tensor, dx_scale: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
    top = fixed.exponent(d.abs().amax(1))
    good = (top >= TINY) & (top < 128)
    q = fixed.round_away(d * fixed.pow2(12 - top)[:, None])
    new = dx_scale.clone()
    new[:, EXP], new[:, BITS] = torch.where(good, top - 12, 0), torch.where(good, TOP_BITS, 0)
    return torch.where(good[:, None], q, 0.0), new


def clamp_dx(dy: Tensor, mask: Tensor, m: Tensor, **_: Any) -> tuple[Tensor]:
    return ((fixed.scale_by(dy, m) * mask).float(),)


def scale_dx(dy: Tensor, *, m: int, **_: Any) -> tuple[Tensor]:
    return (fixed.scale_by(dy, m).float(),)


def avgpool_dx(dy: Tensor, *, m: int, in_shape: tuple[int, int], **_: Any) -> tuple[Tensor]:
    return (spread(fixed.scale_by(dy, m).float(), in_shape),)


def spread(da: Tensor, size: tuple[int, int]) -> Tensor:
    return da[:, None, None, :].expand(-1, *size, -1)


def sum_dx(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    dx_scale: Tensor,
    *,
    offset_a: int,
    offset_b: int,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    ea, eb = a_scale[:, EXP] + offset_a, b_scale[:, EXP] + offset_b
    top = torch.maximum(ea, eb)
    sa, sb = (top - ea).clamp(max=24), (top - eb).clamp(max=24)
    bits = torch.maximum(a_scale[:, BITS] - sa, b_scale[:, BITS] - sb) + SUM_BITS
    return fixed.renormalise(_aligned(a, sa) + _aligned(b, sb), top - SUM_BITS, bits, dx_scale)


def _aligned(q: Tensor, shift: Tensor) -> Tensor:
    return (q.double() * wide(fixed.pow2_double(SUM_BITS - shift), q)).floor_()


def conv2d_dx(
    da: Tensor, w: Tensor, da_scale: Tensor, dx_scale: Tensor, **attrs: Any
) -> tuple[Tensor, Tensor]:
    acc = sums.input_gradient(da, w, attrs["in_shape"], attrs["stride"], attrs["pad"])
    return fixed.renormalise(acc, da_scale[:, EXP] + attrs["offset"], da_scale[:, BITS], dx_scale)


def depthwise_conv2d_dx(
    da: Tensor, w: Tensor, da_scale: Tensor, dx_scale: Tensor, **attrs: Any
) -> tuple[Tensor, Tensor]:
    acc = sums.input_gradient_depthwise(da, w, attrs["in_shape"], attrs["stride"], attrs["pad"])
    exp, bits = da_scale[:, EXP] + attrs["offset"], da_scale[:, BITS]
    return fixed.renormalise(acc, exp, bits, dx_scale, GRAD_BITS)


def conv2d_dw(da: Tensor, x: Tensor, *, kernel: tuple[int, int], **attrs: Any) -> tuple[Tensor]:
    centred = x - attrs["zero_in"]
    dw = sums.weight_gradient(da.double(), centred, kernel, attrs["stride"], attrs["pad"])
    return (dw.clamp_(*INT32),)


def depthwise_conv2d_dw(da: Tensor, x: Tensor, *, kernel: tuple[int, int], **attrs: Any) -> tuple[Tensor]:
    centred = x - attrs["zero_in"]
    dw = sums.weight_gradient_depthwise(da.double(), centred, kernel, attrs["stride"], attrs["pad"])
    return (dw.clamp_(*INT32),)


def conv2d_db(da: Tensor, **_: Any) -> tuple[Tensor]:
    return (da.double().sum((1, 2)),)


BACKWARD = {
    f.__name__: f
    for f in (
        linear_dx,
        quantise_dx,
        clamp_dx,
        scale_dx,
        avgpool_dx,
        sum_dx,
        conv2d_dx,
        depthwise_conv2d_dx,
        conv2d_dw,
        depthwise_conv2d_dw,
        conv2d_db,
    )
} | {"gather_dx": gather}
