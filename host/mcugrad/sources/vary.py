"""Declared changes of samples, in integers only: the same bytes on every machine."""

from __future__ import annotations

import random
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from mcugrad.config import AugmentSection
from mcugrad.sources.image import Pixels

NOTHING = AugmentSection()
_MEAN, _DEVIATION = 128, 64
_FINE = 8  # bits of fraction of the deviation


def normalised(pixels: Pixels, mode: str) -> Pixels:
    """[N,H,W,C] -> the same, each sample by itself: mode "none", "stretch" or "standard"."""
    if mode == "none" or not len(pixels):
        return pixels
    how = {"stretch": _stretched, "standard": _standard}[mode]
    return np.stack([how(x) for x in pixels])


def _stretched(x: Pixels) -> Pixels:
    low, high = int(x.min()), int(x.max())
    if low == high:
        return x
    return _bytes((255 * (x.astype(np.int64) - low) + (high - low) // 2) // (high - low))


def _standard(x: Pixels) -> Pixels:
    wide = x.astype(np.int64)
    total = int(wide.sum())
    variance = x.size * int((wide * wide).sum()) - total * total  # times the size's square
    if not variance:
        return np.full_like(x, _MEAN)
    deviation = isqrt(variance << 2 * _FINE)
    return _bytes(_MEAN + ((_DEVIATION * (x.size * wide - total) << _FINE) + deviation // 2) // deviation)


def augmented(x: Pixels, plan: AugmentSection, key: str) -> Pixels:
    """One sample [H,W,C], varied as planned with the random numbers of `key`; the very same for NOTHING."""
    if plan == NOTHING:
        return x
    draw = random.Random(f"augment/{key}")
    if plan.flip and draw.getrandbits(1):
        x = x[:, ::-1]
    x = _moved(x, _within(draw, plan.shift), _within(draw, plan.shift))
    change = _noise(draw, x.shape, plan.noise) + _within(draw, plan.brightness)
    return _bytes(x.astype(np.int64) + change)


def _within(draw: random.Random, most: int) -> int:
    return (draw.getrandbits(32) * (2 * most + 1) >> 32) - most


def _noise(draw: random.Random, shape: tuple[int, ...], most: int) -> NDArray[np.int64]:
    if not most:
        return np.zeros(shape, np.int64)
    raw = np.frombuffer(draw.randbytes(int(np.prod(shape))), np.uint8).reshape(shape)
    return (raw.astype(np.int64) * (2 * most + 1) >> 8) - most


def _moved(x: Pixels, down: int, right: int) -> Pixels:
    rows, columns = (
        np.clip(np.arange(n) - by, 0, n - 1) for n, by in zip(x.shape, (down, right), strict=False)
    )
    moved: Pixels = x[rows][:, columns]
    return moved


def _bytes(values: NDArray[np.int64]) -> Pixels:
    pixels: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return pixels
