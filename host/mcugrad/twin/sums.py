"""Sums of convolutions that are exact integers at float32 speed: operands are cut so that no sum passes 2^24.

Maps are [N,H,W,C], weights OHWI or HWC (depthwise), all holding integers in float32; kernels to 22x22.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

EXACT = 1 << 24
FORWARD_PRODUCT = 255 * 128  # |x - zero| * |w|
LIMB = 1 << 7  # times an int8 weight, and at most 1,023 such products in a sum (ops/signature.py)


def forward(x: Tensor, w: Tensor, zero: int, stride: int, pad: int) -> Tensor:
    """Convolution of x - zero with zero padding; float64 [N,OH,OW,CO]."""
    at_once = EXACT // (FORWARD_PRODUCT * w.shape[1] * w.shape[2])
    x, channels = x - zero, w.shape[3]
    acc = _dense(x[..., :at_once], w[..., :at_once], stride, pad).double()
    for i in range(at_once, channels, at_once):
        acc += _dense(x[..., i : i + at_once], w[..., i : i + at_once], stride, pad)
    return acc


def forward_depthwise(x: Tensor, w: Tensor, zero: int, stride: int, pad: int) -> Tensor:
    maps, kernel = planes(x - zero), w.permute(2, 0, 1).unsqueeze(1)
    y = functional.conv2d(maps, kernel, stride=stride, padding=pad, groups=w.shape[2])
    return y.permute(0, 2, 3, 1).double()


def input_gradient(da: Tensor, w: Tensor, size: tuple[int, int], stride: int, pad: int) -> Tensor:
    """Transposed convolution of 15-bit da; float64 [N,H,W,CI]."""
    return _in_limbs(da, partial(transposed, w=w, size=size, stride=stride, pad=pad))


def input_gradient_depthwise(da: Tensor, w: Tensor, size: tuple[int, int], stride: int, pad: int) -> Tensor:
    return _in_limbs(da, partial(transposed_depthwise, w=w, size=size, stride=stride, pad=pad))


def weight_gradient(da: Tensor, x: Tensor, kernel: tuple[int, int], stride: int, pad: int) -> Tensor:
    """Per-sample gradients [N,CO,KH,KW,CI] in da's type; x has its zero point subtracted."""
    n, oh, ow, co = da.shape
    taps = torch.stack(windows(x.to(da.dtype), (oh, ow), kernel, stride, pad), 3)
    dw = da.reshape(n, -1, co).transpose(1, 2) @ taps.reshape(n, oh * ow, -1)
    return dw.reshape(n, co, *kernel, x.shape[3])


def weight_gradient_depthwise(
    da: Tensor, x: Tensor, kernel: tuple[int, int], stride: int, pad: int
) -> Tensor:
    """Per-sample gradients [N,KH,KW,C]."""
    taps = windows(x.to(da.dtype), (da.shape[1], da.shape[2]), kernel, stride, pad)
    return torch.stack([(da * t).sum((1, 2)) for t in taps], 1).reshape(len(da), *kernel, da.shape[3])


def transposed(da: Tensor, w: Tensor, size: tuple[int, int], stride: int, pad: int) -> Tensor:
    """[N,OH,OW,CO] back to [N,H,W,CI] in float32."""
    if _pointwise(w, stride, pad):
        return da @ w[:, 0, 0]
    return _back(da, w.permute(0, 3, 1, 2), 1, size, stride, pad)


def transposed_depthwise(da: Tensor, w: Tensor, size: tuple[int, int], stride: int, pad: int) -> Tensor:
    return _back(da, w.permute(2, 0, 1).unsqueeze(1), w.shape[2], size, stride, pad)


def windows(x: Tensor, out: tuple[int, int], kernel: tuple[int, int], stride: int, pad: int) -> list[Tensor]:
    """For each tap of the kernel, what it meets at each output position: [N,OH,OW,C]."""
    padded = functional.pad(x, (0, 0, pad, pad, pad, pad))
    rows, columns = (stride * (n - 1) + 1 for n in out)
    taps = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
    return [padded[:, i : i + rows : stride, j : j + columns : stride] for i, j in taps]


def planes(x: Tensor) -> Tensor:
    """NHWC seen as NCHW, without moving it."""
    return x.permute(0, 3, 1, 2)


def _dense(x: Tensor, w: Tensor, stride: int, pad: int) -> Tensor:
    if _pointwise(w, stride, pad):
        return x @ w[:, 0, 0].T
    return functional.conv2d(planes(x), planes(w), stride=stride, padding=pad).permute(0, 2, 3, 1)


def _pointwise(w: Tensor, stride: int, pad: int) -> bool:
    return (w.shape[1], w.shape[2], stride, pad) == (1, 1, 1, 0)


def _back(da: Tensor, kernel: Tensor, groups: int, size: tuple[int, int], stride: int, pad: int) -> Tensor:
    reach = [(o - 1) * stride - 2 * pad + k for o, k in zip(da.shape[1:3], kernel.shape[2:], strict=True)]
    extra = [n - r for n, r in zip(size, reach, strict=True)]
    dx = functional.conv_transpose2d(
        planes(da), kernel, stride=stride, padding=pad, output_padding=extra, groups=groups
    )
    return dx.permute(0, 2, 3, 1)


def _in_limbs(da: Tensor, linear: Callable[[Tensor], Tensor]) -> Tensor:
    """A linear map of da = 128 high + low, each small enough for exact float32 sums; one call for both."""
    high = ((da + LIMB // 2) / LIMB).floor()
    both = linear(torch.cat([high, da - high * LIMB])).double()
    n = len(da)
    return both[:n].mul_(LIMB).add_(both[n:])
