"""Random operands that reach the extremes of their types."""

from __future__ import annotations

import numpy as np

from mcugrad.ir.graph import Array

RNG = np.random.default_rng(20)
GRADIENT = 1 << 14


def reseed(seed: int) -> None:
    global RNG
    RNG = np.random.default_rng(seed)


def _spiked(x: Array, low: int, high: int) -> Array:
    """A sixth of the elements at the ends of the range."""
    ends = RNG.choice(np.array([low, high]), x.shape)
    return np.where(RNG.random(x.shape) < 1 / 6, ends, x)


def s8(*shape: int) -> Array:
    return _spiked(RNG.integers(-128, 128, shape), -128, 127).astype(np.int8)


def gradient(*shape: int) -> Array:
    """int16 within the limits of a gradient tensor."""
    return _spiked(RNG.integers(-GRADIENT, GRADIENT, shape), -GRADIENT, GRADIENT - 1).astype(np.int16)


def s32(limit: int, *shape: int) -> Array:
    return RNG.integers(-limit, limit + 1, shape).astype(np.int32)


def multiplier(*shape: int) -> Array:
    return RNG.integers(1 << 30, (1 << 31) - 1, shape).astype(np.int32)


def f32(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def scale_state(growth: int | None = None) -> Array:
    """exp, growth, saturated, bits"""
    growth = int(RNG.integers(0, 16)) if growth is None else growth
    return np.array([RNG.integers(-40, 10), growth, RNG.integers(0, 9), RNG.integers(0, 15)], np.int16)


def rate(value: float = 0.01) -> Array:
    return np.array([value], np.float32)
