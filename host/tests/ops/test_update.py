"""Update modes in the reference: random rounding is right on average, fractions add up, all saturates."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mcugrad import ops
from mcugrad.ir.graph import Array
from mcugrad.ops import draws

F32 = np.float32
LR, SCALE = np.array([1], F32), np.zeros(4, np.int16)


def mixed(h: int) -> int:
    """MurmurHash3's finaliser."""
    h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
    h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
    return h ^ h >> 16


def step(w: Array, u: float, count: int) -> Array:
    """Weights after a step of u / 256 in mode int8."""
    dw, coef = np.ones(w.shape, np.int32), np.array([u], F32)
    about = {"offset": 0, "inner": 0, "key": 9}
    (moved,) = ops.get("sgd_int8").ref(w, np.array([count], np.int32), dw, coef, SCALE, LR, **about)
    return np.asarray(moved)


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (7, 1), (2**40 + 1, 100_000), (3, -1)])
def test_draws_are_as_written(seed: int, step: int) -> None:
    start = mixed((seed ^ zlib.crc32(b"conv.w") ^ step * 0x9E3779B1) % 2**32)
    expected = [mixed(start ^ i * 0x85EBCA77 % 2**32) for i in range(100)]
    assert draws.draw(draws.key(seed, "conv.w"), step, 100).tolist() == expected


@pytest.mark.parametrize("shift", [16, 24])
def test_draws_are_even(shift: int) -> None:
    drawn = np.stack([draws.draw(draws.key(3, "w"), i, 4096) >> shift for i in range(64)]).astype(float)
    top = 2 ** (32 - shift)
    assert abs(drawn.mean() / top - 0.5) < 0.003
    assert np.bincount((drawn.ravel() * 16 / top).astype(int)).std() < 0.02 * drawn.size / 16
    for later, sooner in [(drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1])]:
        assert abs(np.corrcoef(later.ravel(), sooner.ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("u", [0.0, 0.25, 64.0, -100.0, 300.0])
def test_random_rounding_is_right_on_average(u: float) -> None:
    """Of a thousand steps; to one of the two integers around u / 256 and no other."""
    w = np.zeros((1, 1000), np.int8)
    moved = np.stack([-step(w, u, i).astype(int) for i in range(1000)])
    assert set(moved.ravel()) <= {int(np.floor(u / 256)), int(np.ceil(u / 256))}
    assert abs(moved.mean() - u / 256) < 0.0025


@pytest.mark.parametrize("u", [1e9, -1e9, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("mode", ["", "_int8", "_fp32"])
def test_weights_saturate(mode: str, u: float) -> None:
    w = np.array([[-128, -5, 0, 5, 127]], np.int8)
    dw, coef = np.ones(w.shape, np.int32), np.array([u], F32)
    kept = {"": np.zeros(w.shape, np.int8), "_int8": np.zeros(1, np.int32), "_fp32": np.zeros(w.shape, F32)}
    about = {"offset": 0, "inner": 0} | ({"key": 1} if mode == "_int8" else {})
    moved, *frac = ops.get(f"sgd{mode}").ref(w, kept[mode], dw, coef, SCALE, LR, **about)
    expected = w if np.isnan(u) else np.full(w.shape, -128 if u > 0 else 127)
    assert np.array_equal(moved, expected) and not np.any(frac)


def test_fp32_adds_up_what_8_bits_lose() -> None:
    """Ten thousand steps of a ten-thousandth; at the end of the range nothing is left over."""
    w, frac = np.array([[5, -128]], np.int8), np.zeros((1, 2), F32)
    dw, coef = np.ones((1, 2), np.int32), np.array([256 / 8192], F32)
    for _ in range(8192):
        w, frac = ops.get("sgd_fp32").ref(w, frac, dw, coef, SCALE, LR, offset=0, inner=0)
    assert w.tolist() == [[4, -128]] and frac.tolist() == [[0, 0]]


def test_biases_saturate_and_carry() -> None:
    delta, db = np.array([7, 2**15 - 1, -(2**15)], np.int16), np.array([-1, -1, 1], np.int32)
    coef = np.full(3, 256 * 5 + 64, F32)
    moved, frac = ops.get("sgd_bias_fp32").ref(delta, np.zeros(3, F32), db, coef, SCALE, LR, offset=0)
    assert moved.tolist() == [12, *delta[1:]] and frac.tolist() == [64, 64, -64]
    (moved,) = ops.get("sgd_bias_int8").ref(
        delta, np.zeros(1, np.int32), db, coef, SCALE, LR, offset=0, key=2
    )
    assert moved[0] in (12, 13) and moved[1:].tolist() == delta[1:].tolist()


def test_steps_begin_again() -> None:
    (after,) = ops.get("count_steps").ref(np.array([2**31 - 1], np.int32))
    assert after.tolist() == [-(2**31)]
