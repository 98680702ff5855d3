"""ops/fixed.py in torch, for batches: the same bits. Integers are held in float32 or float64, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from mcugrad.ops.fixed import (
    BIAS_MAX,
    CLIPPED_MAX,
    FORGET,
    GRAD_BITS,
    GRAD_MAX_BITS,
    SHIFT_MAX,
    SHIFT_MIN,
)

EXP, GROWTH, SATURATED, BITS = range(4)  # places in a scale state, here int64 [N,4]
GRAD_MAX = 1 << GRAD_MAX_BITS


def requantise(acc: Tensor, b: Tensor | float, m: Tensor | float, shift: int, zero: int) -> Tensor:
    """Exact sums in float64 -> integers before clamping; what they are made of ends up in `acc`."""
    # A product beyond 2^53 is rounded, but then it is far outside int8 and clamps all the same.
    acc = acc.add_(b).mul_(m * 2.0 ** (shift - 32))
    return acc.add_(0.5).floor_().add_(zero)


def clamp8(y: Tensor) -> Tensor:
    return y.clamp(-128, 127).float()


def scale_by(q: Tensor, m: Tensor | float) -> Tensor:
    """16-bit gradient times m / 2^31, rounded half up; float64."""
    return (q.double() * (m * 2.0**-31)).add_(0.5).floor_()


def renormalise(
    acc: Tensor, exp: Tensor, bits: Tensor, state: Tensor, expected: int | None = None
) -> tuple[Tensor, Tensor]:
    """Exact sums [N,...] in float64 of exponents [N] -> (gradient in float32, new states [N,4])."""
    chosen_by = bits if expected is None else expected
    shift = (state[:, GROWTH] + chosen_by - GRAD_BITS).clamp(SHIFT_MIN, SHIFT_MAX)
    t = acc.mul_(wide(pow2_double(-shift), acc)).add_(0.5).floor_()
    flat = t.reshape(len(t), -1)
    found = torch.maximum(flat.amax(1), -1 - flat.amin(1)).frexp()[1].long()
    grown = torch.maximum(state[:, GROWTH] - FORGET, found + shift - bits)
    growth = torch.where(found > 0, grown, state[:, GROWTH])
    saturated = (state[:, SATURATED] + (found > GRAD_MAX_BITS)).clamp(max=CLIPPED_MAX)
    new = torch.stack([exp + shift, growth, saturated, found.clamp(max=GRAD_MAX_BITS)], 1)
    return t.clamp_(-GRAD_MAX, GRAD_MAX - 1).float(), new


def wide(x: Tensor, like: Tensor) -> Tensor:
    """[N] -> [N,1,...], to broadcast along the samples."""
    return x.reshape(-1, *[1] * (like.ndim - 1))


def pow2(e: Tensor) -> Tensor:
    """2^e in float32, e clipped to a normal number's."""
    return (e.clamp(-126, 127).int() + 127).bitwise_left_shift(23).view(torch.float32)


def pow2_double(e: Tensor) -> Tensor:
    return (e.clamp(-1022, 1023).long() + 1023).bitwise_left_shift(52).view(torch.float64)


def bounded(u: Tensor) -> Tensor:
    """Clipped to +-2^30; not-a-number becomes 0."""
    return u.clamp(-BIAS_MAX, BIAS_MAX).nan_to_num(0.0)


def round_away(u: Tensor) -> Tensor:
    """Half away from zero in float32, after clipping to +-2^30; not-a-number becomes 0."""
    u = bounded(u)
    return torch.where(u >= 0, u + 0.5, u - 0.5).trunc()


def exponent(x: Tensor) -> Tensor:
    """Exponent field of non-negative float32, minus 127."""
    return x.view(torch.int32).bitwise_right_shift(23).long() - 127


def _horner(coefficients: list[float], x: Tensor) -> Tensor:
    p = torch.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        p = p * x + c
    return p


def expf(x: Tensor) -> Tensor:
    """e^x for x <= 0 in float32; below -87 it is 0."""
    inside = x.clamp(min=-87)
    n = (inside * 1.44269504 - 0.5).trunc()
    r = inside - n * 0.693145751953125
    r = r - n * 1.42860677e-6
    e = _horner([1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1, 1], r) * pow2(n.nan_to_num(0.0))
    return torch.where(x > -87, e, torch.where(x.isnan(), x, torch.zeros_like(x)))


def logf(x: Tensor) -> Tensor:
    """Natural logarithm of normal positive float32; anything else comes back as it is."""
    bits = x.view(torch.int32)
    e = bits.bitwise_right_shift(23) - 127
    m = (bits & 0x7FFFFF | 0x3F800000).view(torch.float32)
    large = m > torch.tensor(1.41421354, dtype=torch.float32)
    m, fe = torch.where(large, m * 0.5, m), (e + large).float()
    f = m - 1.0
    s = f / (f + 2.0)
    p = _horner([1 / 9, 1 / 7, 0.2, 1 / 3, 1], s * s)
    y = fe * 0.693145751953125 + (fe * 1.42860677e-6 + (s + s) * p)
    return torch.where((x >= 1.17549435e-38) & (x <= 3.40282347e38), y, x)
