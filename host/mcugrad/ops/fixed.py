"""The arithmetic of DESIGN part 3 in numpy: rounding, saturation, scale states, exp and log.

Everything here has a twin in kernels/requant.h and kernels/loss.c with the same bits.
"""

from __future__ import annotations

import numpy as np

from mcugrad.ir.graph import Array

GRAD_BITS = 12  # a gradient's largest magnitude is steered into [2^11, 2^12)
GRAD_MAX_BITS = 14  # and saturates at 2^14
CLIPPED_MAX = 32767  # steps that a scale state counts
SHIFT_MIN, SHIFT_MAX = 2, 30
FORGET = 1  # a too large growth goes down by this much a step
BIAS_MAX = 1 << 30
F32 = np.float32


def saturate(x: Array, bits: int) -> Array:
    """Clamp to a signed integer of that many bits."""
    return np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def mul_high(x: Array, m: Array | int) -> Array:
    """(x * m + 2^31) >> 32 in int64: one SMMULR on the chip. Rounds half up."""
    return (np.asarray(x, np.int64) * np.asarray(m, np.int64) + (1 << 31)) >> 32


def requantise(acc: Array, m: Array | int, shift: int, zero: int) -> tuple[Array, Array]:
    """int32 accumulator -> (int8 result, True where it was not clamped)."""
    acc, most = np.asarray(acc, np.int64), 1 << (30 - shift)
    if shift:  # clipped before the shift could pass int32; with a usual m the result saturates anyway
        acc = np.clip(acc, -most, most) << shift
    y = mul_high(acc, m) + zero
    return saturate(y, 8).astype(np.int8), (y >= -128) & (y <= 127)


def pack_bits(flags: Array) -> Array:
    """Booleans, in memory order -> bytes, least significant bit first."""
    return np.packbits(flags.reshape(-1), bitorder="little")


def unpack_bits(packed: Array, shape: tuple[int, ...]) -> Array:
    n = int(np.prod(shape))
    return np.unpackbits(packed, count=n, bitorder="little").reshape(shape).astype(bool)


def scale_by(q: Array, m: Array | int) -> Array:
    """int16 gradient times m / 2^31, rounded half up."""
    return mul_high(np.asarray(q, np.int64) << 1, m).astype(np.int16)


def renormalise(
    acc: Array, exp: int, bits: int, state: Array, expected: int | None = None
) -> tuple[Array, Array]:
    """int32 sums of exponent `exp` -> (int16 gradient, new scale state).

    `bits`: length of the largest magnitude among what the sums are made of. With the growth that the state
    expects it gives the shift, or `expected` does, where `bits` are not known before the sums are made; the
    growth seen here is what the next step expects: up at once, down slowly.
    """
    growth = int(state[1])
    shift = min(max((bits if expected is None else expected) + growth - GRAD_BITS, SHIFT_MIN), SHIFT_MAX)
    t = mul_high(acc, 1 << (32 - shift))
    found = int(np.bitwise_or.reduce(np.reshape(t ^ (t >> 63), -1))).bit_length()
    if found:
        growth = max(growth - FORGET, found + shift - bits)
    clipped = min(int(state[2]) + (found > GRAD_MAX_BITS), CLIPPED_MAX)
    new = [exp + shift, growth, clipped, min(found, GRAD_MAX_BITS)]
    return saturate(t, GRAD_MAX_BITS + 1).astype(np.int16), np.array(new, np.int16)


def power_of_two(e: int) -> np.float32:
    return F32(2.0 ** min(max(e, -126), 127))


def bounded(u: Array) -> Array:
    """float32, clipped to +-2^30; not-a-number becomes 0."""
    return np.where(np.isnan(u), F32(0), np.clip(u, F32(-BIAS_MAX), F32(BIAS_MAX))).astype(np.float32)


def round_away(u: Array) -> Array:
    """float32 -> int64, half away from zero, after clipping to +-2^30; not-a-number becomes 0."""
    u = bounded(u)
    whole: Array = np.trunc(u + np.where(u >= 0, F32(0.5), F32(-0.5)))
    return whole.astype(np.int64)


def _horner(coefficients: list[float], x: np.float32) -> np.float32:
    p = F32(coefficients[0])
    for c in coefficients[1:]:
        p = F32(p * x) + F32(c)
    return p


def expf(x: np.float32) -> np.float32:
    """e^x for x <= 0, float32, multiplications and additions only; below -87 it is 0."""
    if not x > F32(-87):
        return x if np.isnan(x) else F32(0)
    n = int(np.trunc(F32(x * F32(1.44269504)) - F32(0.5)))
    r = F32(x - F32(n) * F32(0.693145751953125))
    r = F32(r - F32(n) * F32(1.42860677e-6))
    p = _horner([1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1, 1], r)
    return F32(p * power_of_two(n))


def logf(x: np.float32) -> np.float32:
    """Natural logarithm of a normal positive float32; anything else comes back as it is."""
    if not (x >= F32(1.17549435e-38)) or x > F32(3.40282347e38):
        return x
    bits = int(F32(x).view(np.uint32))
    e, m = (bits >> 23) - 127, np.uint32((bits & 0x7FFFFF) | 0x3F800000).view(np.float32)
    if m > F32(1.41421354):
        m, e = F32(m * F32(0.5)), e + 1
    f = F32(m - F32(1))
    s = F32(f / F32(F32(2) + f))
    p = _horner([1 / 9, 1 / 7, 0.2, 1 / 3, 1], F32(s * s))
    return F32(F32(e) * F32(0.693145751953125)) + F32(F32(F32(e) * F32(1.42860677e-6)) + F32(F32(s + s) * p))
