"""The arithmetic's corners: rounding, saturation, exp and log, updates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcugrad import ops
from mcugrad.ops import fixed

F32 = np.float32


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(-128, 127))
def test_requantise_is_exact_rounding_half_up(acc: int, m: int, zero: int) -> None:
    y, inside = fixed.requantise(np.array(acc), m, 0, zero)
    exact = (acc * m + 2**31) // 2**32 + zero
    assert int(y) == min(max(exact, -128), 127)
    assert bool(inside) == (-128 <= exact <= 127)


@given(st.floats(-86.875, 0, width=32))
def test_exp(x: float) -> None:
    assert fixed.expf(F32(x)) == pytest.approx(np.exp(np.float64(F32(x))), rel=5e-7)


def test_exp_ends() -> None:
    assert fixed.expf(F32(0)) == 1 and fixed.expf(F32(-1000)) == 0 and np.isnan(fixed.expf(F32(np.nan)))


@given(st.floats(1, 2.0**100, width=32))
def test_log(x: float) -> None:
    assert fixed.logf(F32(x)) == pytest.approx(np.log(np.float64(F32(x))), rel=5e-7, abs=1e-7)


@given(st.integers(-128, 127), st.integers(-128, 127), st.floats(-(2.0**40), 2.0**40, width=32))
def test_weights_saturate_and_round_to_nearest(w: int, frac: int, step: float) -> None:
    lr, scale = np.array([1], F32), np.array([0, 0, 0, 0], np.int16)
    args = (np.array([[w]], np.int8), np.array([[frac]], np.int8), np.array([[1]], np.int32))
    w2, frac2 = ops.get("sgd").ref(*args, np.array([step], F32), scale, lr, offset=0, inner=0)
    move = float(np.clip(np.trunc(F32(step) + F32(0.5 if step >= 0 else -0.5)), -(2**30), 2**30))
    exact = min(max(w * 256 + frac - move, -32768), 32512)
    assert int(w2[0, 0]) * 256 + int(frac2[0, 0]) == exact


@given(st.integers(-(2**15), 2**15 - 1), st.integers(-128, 127), st.floats(-(2.0**25), 2.0**25, width=32))
def test_biases_carry_their_fraction(delta: int, frac: int, step: float) -> None:
    lr, scale = np.array([1], F32), np.array([0, 0, 0, 0], np.int16)
    args = (np.array([delta], np.int16), np.array([frac], np.int8), np.array([1], np.int32))
    moved, frac2 = ops.get("sgd_bias").ref(*args, np.array([step], F32), scale, lr, offset=0)
    move = int(np.trunc(F32(step) + F32(0.5 if step >= 0 else -0.5)))
    exact = delta * 256 + frac - move
    saturated = moved[0] == 2**15 - 1 < exact / 256 or moved[0] == -(2**15) > exact / 256 - 1
    assert int(moved[0]) * 256 + int(frac2[0]) == exact or saturated


def test_tiny_updates_add_up() -> None:
    """Many steps of a hundredth of a unit move an int8 weight by one; truncation would move it by none."""
    w, frac = np.array([[5]], np.int8), np.array([[0]], np.int8)
    scale, lr = np.array([0, 0, 0, 0], np.int16), np.array([1], F32)
    for _ in range(100):
        dw, coef = np.array([[1]], np.int32), np.array([2.56], F32)
        w, frac = ops.get("sgd").ref(w, frac, dw, coef, scale, lr, offset=0, inner=0)
    assert int(w[0, 0]) * 256 + int(frac[0, 0]) == 5 * 256 - 300


def test_partial_update_touches_its_channels_only() -> None:
    rng = np.random.default_rng(1)
    w, index = rng.integers(-128, 128, (3, 1, 1, 6)).astype(np.int8), np.array([1, 4])
    frac, dw = np.zeros((3, 1, 1, 2), np.int8), rng.integers(-99, 99, (3, 1, 1, 2)).astype(np.int32)
    scale, lr = np.array([4, 0, 0, 0], np.int16), np.array([0.5], F32)
    coef = np.array([1, 2, 0], F32)
    w2, _ = ops.get("sgd_partial").ref(w, frac, dw, coef, scale, lr, index, offset=3, inner=0)
    rest = [0, 2, 3, 5]
    assert (w2[..., rest] == w[..., rest]).all() and (w2[2] == w[2]).all()
    assert (w2[..., index] != w[..., index]).any()


def test_a_duplicate_op_is_refused() -> None:
    with pytest.raises(Exception, match="registered twice"):
        ops.op.register("add", outs="y:s8", ins="a:s8")
