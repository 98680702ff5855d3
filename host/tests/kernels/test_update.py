"""Updates of trained integers: kernel == record, saturation and hopeless learning rates included."""

from __future__ import annotations

import numpy as np
import pytest

from mcugrad.ir.graph import Array
from tests.kernels import arrays
from tests.kernels.run import Kernels

RATES = [0.0, 1e-9, 0.01, -3.0, 1e30, np.inf, np.nan]
MODES = ["", "_int8", "_fp32"]
MOST = 1 << 30


def coefficients(n: int) -> Array:
    coef = np.abs(arrays.f32(n)) * np.float32(2000)
    coef[::3] = 0
    return coef.astype(np.float32)


def kept(mode: str, *shape: int) -> Array:
    """The operand beside the integers: their fraction, or the number of the step."""
    if mode == "_int8":
        return arrays.s32(MOST, 1)
    return arrays.s8(*shape) if not mode else np.clip(arrays.f32(*shape) * 90, -128, 128).astype(np.float32)


def key(mode: str) -> dict[str, int]:
    return {"key": int(arrays.RNG.integers(1 << 32))} if mode == "_int8" else {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lr", RATES)
@pytest.mark.parametrize(
    "shape, inner", [((5, 3, 3, 7), 0), ((32, 1, 1, 33), 0), ((3, 3, 31), 1), ((1, 1, 1, 1), 0)]
)
def test_sgd(kernels: Kernels, shape: tuple[int, ...], inner: int, lr: float, mode: str) -> None:
    co = shape[-1] if inner else shape[0]
    for offset in (-20, 0, 200, -300):
        w, dw = arrays.s8(*shape), arrays.s32(1 << 24, *shape)
        about = {"offset": offset, "inner": inner, **key(mode)}
        rest = coefficients(co), arrays.scale_state(), arrays.rate(lr)
        kernels.check(f"sgd{mode}", w, kept(mode, *shape), dw, *rest, **about)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape, inner", [((5, 1, 1, 12), 0), ((4, 3, 3, 7), 0), ((5, 5, 9), 1)])
def test_sgd_partial(kernels: Kernels, shape: tuple[int, ...], inner: int, mode: str) -> None:
    co, last = shape[-1] if inner else shape[0], shape[-1]
    for k in (1, last // 2, last):
        index = np.sort(arrays.RNG.choice(last, k, replace=False)).astype(np.int32)
        part = (*shape[:-1], k)
        for offset in (4, -16):
            w, dw = arrays.s8(*shape), arrays.s32(1 << 24, *part)
            rest = coefficients(co), arrays.scale_state(), arrays.rate(), index
            about = {"offset": offset, "inner": inner, **key(mode)}
            kernels.check(f"sgd_partial{mode}", w, kept(mode, *part), dw, *rest, **about)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lr", RATES)
@pytest.mark.parametrize("n", [1, 5, 33])
def test_sgd_bias(kernels: Kernels, n: int, lr: float, mode: str) -> None:
    for moved in (arrays.gradient(n), np.full(n, 2**15 - 1, np.int16), np.full(n, -(2**15), np.int16)):
        for offset in (3, -14):
            db, rest = arrays.s32(1 << 28, n), (coefficients(n), arrays.scale_state(), arrays.rate(lr))
            kernels.check(f"sgd_bias{mode}", moved, kept(mode, n), db, *rest, offset=offset, **key(mode))


def test_bias(kernels: Kernels) -> None:
    start, delta = arrays.s32(MOST - 2**15, 33), arrays.gradient(33)
    kernels.check("bias", start, delta)
    kernels.check("bias", start, np.full(33, -(2**15), np.int16))


@pytest.mark.parametrize("steps", [0, 7, (1 << 31) - 1, -1])
def test_count_steps(kernels: Kernels, steps: int) -> None:
    kernels.check("count_steps", np.array([steps], np.int32))
