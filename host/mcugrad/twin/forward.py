"""Forward ops by name, as the op records' references but with the samples first: [N,...].

Integers are held in float32 (int8, sums below 2^24) or float64; a mask is bool of the map's shape.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mcugrad.twin import fixed, sums


def conv2d(x: Tensor, w: Tensor, b: Tensor, m: Tensor, **attrs: Any) -> tuple[Tensor, ...]:
    return _finish(sums.forward(x, w, attrs["zero_in"], attrs["stride"], attrs["pad"]), b, m, attrs)


def depthwise_conv2d(x: Tensor, w: Tensor, b: Tensor, m: Tensor, **attrs: Any) -> tuple[Tensor, ...]:
    return _finish(sums.forward_depthwise(x, w, attrs["zero_in"], attrs["stride"], attrs["pad"]), b, m, attrs)


def _finish(acc: Tensor, b: Tensor, m: Tensor, attrs: dict[str, Any]) -> tuple[Tensor, ...]:
    y = fixed.requantise(acc, b, m, attrs["shift"], attrs["zero_out"])
    clamped = fixed.clamp8(y)
    return (clamped, y == clamped) if attrs["masked"] else (clamped,)


def add(a: Tensor, b: Tensor, *, m1: int, m2: int, c: int, sh: int, **_: Any) -> tuple[Tensor]:
    acc = a.double() * m1 + b.double() * m2 + c
    return (fixed.clamp8((acc * 2.0**-sh).floor_()),)


def bias(start: Tensor, delta: Tensor, **_: Any) -> tuple[Tensor]:
    return ((start + delta)[None],)


def gather(x: Tensor, index: Tensor, **_: Any) -> tuple[Tensor]:
    return (x[..., index],)


def gather_planes(x: Tensor, index: Tensor, **_: Any) -> tuple[Tensor]:
    return (x[..., index].permute(0, 3, 1, 2),)


def avgpool(x: Tensor, *, mult: int, shift: int, zero_in: int, zero_out: int, **_: Any) -> tuple[Tensor]:
    acc = x.double().sum((1, 2))
    return (fixed.clamp8(fixed.requantise(acc, -x.shape[1] * x.shape[2] * zero_in, mult, shift, zero_out)),)


def dequantise(x: Tensor, zero: int, scale: float) -> Tensor:
    return (x - zero) * scale


def linear(x: Tensor, w: Tensor, b: Tensor, *, zero: int, scale: float, **_: Any) -> tuple[Tensor]:
    """The reference's order: features ascending, each product and sum rounded to float32."""
    products = dequantise(x, zero, scale).T[:, :, None] * w.T[:, None, :]
    logits = b.repeat(len(x), 1)
    for product in products:
        logits += product
    return (logits,)


def softmax_xent(logits: Tensor, label: Tensor, **_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """logits [N,K], label [N,1] -> loss [N,1], predicted [N,1], dlogits [N,K]."""
    shifted = logits - logits.amax(1, keepdim=True)
    e = fixed.expf(shifted)
    total = torch.zeros_like(e[:, :1])
    for k in range(e.shape[1]):
        total += e[:, k : k + 1]
    dlogits = (e / total).scatter_add(1, label, torch.full_like(total, -1))
    return fixed.logf(total) - shifted.gather(1, label), logits.argmax(1, keepdim=True), dlogits


FORWARD: dict[str, Any] = {
    f.__name__: f
    for f in (conv2d, depthwise_conv2d, add, bias, gather, gather_planes, avgpool, linear, softmax_xent)
}
