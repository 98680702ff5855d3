"""Update ops by name: the gradients of a batch are averaged in float64, then move the weights once.

A trained integer is plane + frac / 256. What becomes of the step u, in 1/256, is the update mode:
device: rounded to a whole number, the board's 8.8; fp32: kept, `frac` is then real; int8: rounded to 0 or
to a multiple of 256 at random, so that `frac` stays 0 and no board would have to store it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mcugrad.ops.fixed import BIAS_MAX
from mcugrad.ops.update import FRACTION_BITS
from mcugrad.twin import draws, fixed
from mcugrad.twin.fixed import EXP, wide
from mcugrad.twin.forward import dequantise

UNIT = 1 << FRACTION_BITS
Rounding = Callable[[Tensor], Tensor]
Smoothing = Callable[[int, Tensor], Tensor]  # of the op's first or second operand
MODES = ("device", "fp32", "int8")


class Velocity:
    """Heavy-ball momentum: v = momentum * v + u, and v moves the weights; u holds the rate already."""

    def __init__(self, momentum: float) -> None:
        self.momentum, self.kept = momentum, dict[str, Tensor]()
        self._next: dict[str, Tensor] = {}

    def __call__(self, name: str, u: Tensor) -> Tensor:
        if not self.momentum:
            return u
        v = u.nan_to_num() + self.momentum * self.kept.get(name, torch.zeros_like(u))
        self._next[name] = v
        return v

    def commit(self) -> None:
        """The step counts: what it made is the next one's start."""
        self.kept |= self._next


def to_nearest(u: Tensor) -> Tensor:
    return fixed.round_away(u).double()


def not_at_all(u: Tensor) -> Tensor:
    return u.clamp(-BIAS_MAX, BIAS_MAX).nan_to_num(0.0).double()


def stochastic(u: Tensor, drawn: Tensor) -> Tensor:
    """drawn: integers 0..65535 of u's size; how often u rounds up is its part above the multiple of 256."""
    fine = fixed.round_away(u * 2.0 ** (draws.BITS - FRACTION_BITS)).double()
    return ((drawn.reshape(u.shape) - fine) * 2.0**-draws.BITS).floor() * -UNIT


def sgd(
    w: Tensor,
    frac: Tensor,
    dw: Tensor,
    coef: Tensor,
    da_scale: Tensor,
    lr: Tensor,
    *,
    offset: int,
    inner: int,
    rounding: Rounding,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    return _move8(w, frac, rounding(_step(dw, _per_channel(coef, dw, inner), da_scale, lr, offset)))


def sgd_partial(
    w: Tensor,
    frac: Tensor,
    dw: Tensor,
    coef: Tensor,
    da_scale: Tensor,
    lr: Tensor,
    index: Tensor,
    *,
    offset: int,
    inner: int,
    rounding: Rounding,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    own = coef[index] if inner else _per_channel(coef, dw, inner)
    part, frac = _move8(w[..., index], frac, rounding(_step(dw, own, da_scale, lr, offset)))
    w = w.clone()
    w[..., index] = part
    return w, frac


def sgd_bias(
    b: Tensor,
    frac: Tensor,
    db: Tensor,
    coef: Tensor,
    da_scale: Tensor,
    lr: Tensor,
    *,
    offset: int,
    rounding: Rounding,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    b, frac = _carried(b, frac - rounding(_step(db, coef, da_scale, lr, offset)))
    return b.clamp(-BIAS_MAX, BIAS_MAX), frac


def linear_sgd(
    w: Tensor,
    b: Tensor,
    dlogits: Tensor,
    x: Tensor,
    lr: Tensor,
    *,
    zero: int,
    scale: float,
    smoothing: Smoothing,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    # A float64 product of two float32 is exact: rounding the mean of one is rounding the product.
    step = lr * dlogits
    dw = step.double().T @ dequantise(x, zero, scale).double() / len(x)
    db = step.double().mean(0)
    return w - smoothing(0, dw.float()), b - smoothing(1, db.float())


def _step(dw: Tensor, coef: Tensor, da_scale: Tensor, lr: Tensor, offset: int) -> Tensor:
    """How far to go in 1/256 of the plane's unit, float32: the mean over samples of all exponents."""
    exp = da_scale[:, EXP] + offset
    top = exp.amax()
    mean = (dw * wide(fixed.pow2_double(exp - top), dw)).mean(0)
    return mean.float() * ((lr * coef) * fixed.pow2(top))


def _move8(w: Tensor, frac: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    wanted = (w.double() * UNIT + frac - u).clamp(-128 * UNIT, 127 * UNIT)
    plane, frac = _carried(w.double(), wanted - w.double() * UNIT)
    return plane.float(), frac


def _carried(plane: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    carry = ((v + UNIT // 2) / UNIT).floor()
    return plane + carry, (v - carry * UNIT).float()


def _per_channel(coef: Tensor, dw: Tensor, inner: int) -> Tensor:
    return coef if inner else coef.reshape(-1, *[1] * (dw.ndim - 2))


UPDATE = {f.__name__: f for f in (sgd, sgd_partial, sgd_bias, linear_sgd)}
