"""Head, backward pass and update in plain float32, sums in any order: what integer gradients compare with.

Attribute `k`: the op's multipliers m stand for m / 2^31 / 2^k. Scale states pass through unused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mcugrad.twin import sums
from mcugrad.twin.backward import spread
from mcugrad.twin.fixed import clamp8
from mcugrad.twin.forward import dequantise
from mcugrad.twin.update import UNIT, Moved, mode


def linear(x: Tensor, w: Tensor, b: Tensor, *, zero: int, scale: float, **_: Any) -> tuple[Tensor]:
    return (torch.addmm(b, dequantise(x, zero, scale), w.T),)


def linear_dx(dlogits: Tensor, w: Tensor, *, scale: float, **_: Any) -> tuple[Tensor]:
    return (dlogits @ w * scale,)


def softmax_xent(logits: Tensor, label: Tensor, **_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """As forward.softmax_xent, in torch's order of sums."""
    log = logits.log_softmax(1)
    dlogits = log.exp().scatter_add(1, label, torch.full_like(log[:, :1], -1))
    return -log.gather(1, label), logits.argmax(1, keepdim=True), dlogits


def quantise_dx(d: Tensor, dx_scale: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
    return d, dx_scale


def clamp_dx(dy: Tensor, mask: Tensor, m: Tensor, *, k: int, **_: Any) -> tuple[Tensor]:
    return (dy * mask * (m * 2.0 ** (-31 - k)).float(),)


def scale_dx(dy: Tensor, *, m: int, k: int, **_: Any) -> tuple[Tensor]:
    return (dy * (m * 2.0 ** (-31 - k)),)


def avgpool_dx(dy: Tensor, *, m: int, k: int, in_shape: tuple[int, int], **_: Any) -> tuple[Tensor]:
    return (spread(dy * (m * 2.0 ** (-31 - k)), in_shape),)


def sum_dx(
    a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, dx_scale: Tensor, **_: Any
) -> tuple[Tensor, Tensor]:
    return a + b, dx_scale


def conv2d_dx(
    da: Tensor, w: Tensor, da_scale: Tensor, dx_scale: Tensor, **attrs: Any
) -> tuple[Tensor, Tensor]:
    return sums.transposed(da, w, attrs["in_shape"], attrs["stride"], attrs["pad"]), dx_scale


def depthwise_conv2d_dx(
    da: Tensor, w: Tensor, da_scale: Tensor, dx_scale: Tensor, **attrs: Any
) -> tuple[Tensor, Tensor]:
    return sums.transposed_depthwise(da, w, attrs["in_shape"], attrs["stride"], attrs["pad"]), dx_scale


def conv2d_dw(da: Tensor, x: Tensor, *, kernel: tuple[int, int], **attrs: Any) -> tuple[Tensor]:
    return (sums.weight_gradient(da, x - attrs["zero_in"], kernel, attrs["stride"], attrs["pad"]),)


def depthwise_conv2d_dw(da: Tensor, x: Tensor, *, kernel: tuple[int, int], **attrs: Any) -> tuple[Tensor]:
    return (sums.weight_gradient_depthwise(da, x - attrs["zero_in"], kernel, attrs["stride"], attrs["pad"]),)


def conv2d_db(da: Tensor, **_: Any) -> tuple[Tensor]:
    return (da.sum((1, 2)),)


def weight(w: Tensor, frac: Tensor, u: Tensor, **_: Any) -> Moved:
    moved, rest = bias(w, frac, u)
    plane = clamp8(moved)
    return plane, torch.where(moved == plane, rest, 0.0)


def bias(b: Tensor, frac: Tensor, u: Tensor, **_: Any) -> Moved:
    v = frac - u
    carry = (v * (1 / UNIT)).round_()
    return b + carry, v - carry * UNIT


def step(dw: Tensor, coef: Tensor, da_scale: Tensor, lr: Tensor, offset: int) -> Tensor:
    return (dw.mean(0) if len(dw) > 1 else dw[0]) * (lr * coef)


REAL: dict[str, Any] = {
    f.__name__: f
    for f in (
        linear,
        linear_dx,
        softmax_xent,
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
} | mode("_fp32", weight, bias, step, step)
