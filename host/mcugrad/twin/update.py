"""Update ops by name: the gradients of a batch are averaged in float64, then move the weights once.

The modes are those of ops/update.py, told apart by the op.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mcugrad.ops.update import FINE_BITS, FINER, FRACTION_BITS
from mcugrad.twin import draws, fixed
from mcugrad.twin.fixed import EXP, wide
from mcugrad.twin.forward import dequantise

UNIT = 1 << FRACTION_BITS
Smoothing = Callable[[int, Tensor], Tensor]  # of the step of the op's first or second operand
Moved = tuple[Tensor, ...]
Move = Callable[..., Moved]  # integers, what is kept beside them, step -> both, moved
Step = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]  # dw, coef, da_scale, lr, offset


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


def mode(suffix: str, weight: Move, bias: Move, weight_step: Step, bias_step: Step) -> dict[str, Move]:
    """The three ops of an update mode; a step says how far to go in 1/256 of the plane's unit, or finer."""
    whole, partly = _weight(weight, weight_step)
    return {
        f"sgd{suffix}": whole,
        f"sgd_partial{suffix}": partly,
        f"sgd_bias{suffix}": _bias(bias, bias_step),
    }


def _weight(move: Move, step: Step) -> tuple[Move, Move]:
    """An update of all weights, and of those along the last axis that an index lists."""

    def sgd(
        w: Tensor,
        kept: Tensor,
        dw: Tensor,
        coef: Tensor,
        da_scale: Tensor,
        lr: Tensor,
        *,
        offset: int,
        inner: int,
        smoothing: Smoothing,
        **attrs: Any,
    ) -> Moved:
        own = coef if inner else coef.reshape(-1, *[1] * (dw.ndim - 2))
        return move(w, kept, smoothing(0, step(dw, own, da_scale, lr, offset)), **attrs)

    def sgd_partial(
        w: Tensor,
        kept: Tensor,
        dw: Tensor,
        coef: Tensor,
        da_scale: Tensor,
        lr: Tensor,
        index: Tensor,
        *,
        inner: int,
        **attrs: Any,
    ) -> Moved:
        own = coef[index] if inner else coef
        part, *others = sgd(w[..., index], kept, dw, own, da_scale, lr, inner=inner, **attrs)
        w = w.clone()
        w[..., index] = part
        return w, *others

    return sgd, sgd_partial


def _bias(move: Move, step: Step) -> Move:
    def sgd_bias(
        b: Tensor,
        kept: Tensor,
        db: Tensor,
        coef: Tensor,
        da_scale: Tensor,
        lr: Tensor,
        *,
        offset: int,
        smoothing: Smoothing,
        **attrs: Any,
    ) -> Moved:
        b, *others = move(b, kept, smoothing(0, step(db, coef, da_scale, lr, offset)), **attrs)
        return b.clamp(-(2**15), 2**15 - 1), *others

    return sgd_bias


def _step(dw: Tensor, coef: Tensor, da_scale: Tensor, lr: Tensor, offset: int, finer: int = 1) -> Tensor:
    """The mean over all samples' exponents, float32."""
    exp = da_scale[:, EXP] + offset
    top = exp.amax()
    mean = (dw * wide(fixed.pow2_double(exp - top), dw)).mean(0)
    return mean.float() * ((lr * coef) * fixed.pow2(top) * finer)


def weight_8_8(w: Tensor, frac: Tensor, u: Tensor, **_: Any) -> Moved:
    wanted = (w.double() * UNIT + frac - fixed.round_away(u)).clamp(-128 * UNIT, 127 * UNIT)
    plane, frac = bias_8_8(w.double(), wanted - w.double() * UNIT, torch.zeros_like(u))
    return plane.float(), frac


def bias_8_8(b: Tensor, frac: Tensor, u: Tensor, **_: Any) -> Moved:
    v = frac.double() - fixed.round_away(u)
    carry = ((v + UNIT // 2) / UNIT).floor()
    return b + carry, (v - carry * UNIT).float()


def weight_int8(w: Tensor, steps: Tensor, u: Tensor, *, key: int, **_: Any) -> Moved:
    return (fixed.clamp8(w + _whole(u, FINE_BITS, key, steps)),)


def bias_int8(b: Tensor, steps: Tensor, u: Tensor, *, key: int, **_: Any) -> Moved:
    return (b + _whole(u, FRACTION_BITS, key, steps),)


def _whole(u: Tensor, bits: int, key: int, steps: Tensor) -> Tensor:
    drawn = draws.draw(key, steps, u.numel()).reshape(u.shape) >> (32 - bits)
    return ((drawn - fixed.round_away(u).double()) * 2.0**-bits).floor()


def weight_fp32(w: Tensor, frac: Tensor, u: Tensor, **_: Any) -> Moved:
    moved, rest = bias_fp32(w.double(), frac, u)
    plane = fixed.clamp8(moved)
    beyond = (moved != plane) | (plane == 127) & (rest > 0) | (plane == -128) & (rest < 0)
    return plane, torch.where(beyond, 0.0, rest)


def bias_fp32(b: Tensor, frac: Tensor, u: Tensor, **_: Any) -> Moved:
    v = frac - fixed.bounded(u)
    carry = fixed.round_away(v * (1 / UNIT))
    return b + carry, v - carry * UNIT


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


def count_steps(steps: Tensor, **_: Any) -> Moved:
    return ((steps + 2**31 + 1).remainder(2**32) - 2**31,)


UPDATE: dict[str, Move] = {
    **mode("", weight_8_8, bias_8_8, _step, _step),
    **mode("_int8", weight_int8, bias_int8, partial(_step, finer=FINER), _step),
    **mode("_fp32", weight_fp32, bias_fp32, _step, _step),
    "linear_sgd": linear_sgd,
    "count_steps": count_steps,
}
