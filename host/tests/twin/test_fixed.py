"""exp, log and rounding in torch give the reference's bits."""

from __future__ import annotations

import numpy as np
import torch

from mcugrad.ops import fixed as reference
from mcugrad.twin import fixed


def test_exp() -> None:
    x = -np.concatenate([np.geomspace(1e-9, 90, 4000), [0, 87, np.nextafter(np.float32(87), 0), 1e9, np.inf]])
    x = np.append(x, np.nan).astype(np.float32)
    expected = np.array([reference.expf(v) for v in x], np.float32)
    assert np.array_equal(fixed.expf(torch.from_numpy(x)).numpy(), expected, equal_nan=True)


def test_log() -> None:
    x = np.concatenate([np.geomspace(1e-37, 3e38, 4000), np.linspace(0.9, 1.5, 500), [0, -1, np.inf, np.nan]])
    x = x.astype(np.float32)
    expected = np.array([reference.logf(v) for v in x], np.float32)
    assert np.array_equal(fixed.logf(torch.from_numpy(x)).numpy(), expected, equal_nan=True)


def test_rounding() -> None:
    half = np.arange(-5, 6) / 2
    u = np.array([*half, 0.49999997, -0.49999997, 2**23 + 1, 3e38, -np.inf, np.nan], np.float32)
    assert np.array_equal(fixed.round_away(torch.from_numpy(u)).numpy(), reference.round_away(u))


def test_requantise_far_outside() -> None:
    """Products that float64 cannot hold clamp to the right side."""
    acc = np.array([2**31 - 1, -(2**31), 12345, -12345, 0], np.int64)
    expected, inside = reference.requantise(acc, 2**31 - 1, 0, -3)
    y = fixed.requantise(torch.from_numpy(acc).double(), 0.0, float(2**31 - 1), 0, -3)
    assert np.array_equal(fixed.clamp8(y).numpy(), expected)
    assert np.array_equal((y == fixed.clamp8(y)).numpy(), inside)
