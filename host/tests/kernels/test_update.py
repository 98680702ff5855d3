"""Updates of trained integers: kernel == record, saturation and hopeless learning rates included."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels import arrays
from tests.kernels.run import Kernels

RATES = [0.0, 1e-9, 0.01, -3.0, 1e30, np.inf, np.nan]


def coefficients(n: int) -> np.ndarray:
    coef = np.abs(arrays.f32(n)) * np.float32(2000)
    coef[::3] = 0
    return coef.astype(np.float32)


@pytest.mark.parametrize("lr", RATES)
@pytest.mark.parametrize(
    "shape, inner", [((5, 3, 3, 7), 0), ((32, 1, 1, 33), 0), ((3, 3, 31), 1), ((1, 1, 1, 1), 0)]
)
def test_sgd(kernels: Kernels, shape: tuple[int, ...], inner: int, lr: float) -> None:
    co = shape[-1] if inner else shape[0]
    for offset in (-20, 0, 200, -300):
        w, frac, dw = arrays.s8(*shape), arrays.s8(*shape), arrays.s32(1 << 24, *shape)
        about = {"offset": offset, "inner": inner}
        kernels.check("sgd", w, frac, dw, coefficients(co), arrays.scale_state(), arrays.rate(lr), **about)


@pytest.mark.parametrize("shape, inner", [((5, 1, 1, 12), 0), ((4, 3, 3, 7), 0), ((5, 5, 9), 1)])
def test_sgd_partial(kernels: Kernels, shape: tuple[int, ...], inner: int) -> None:
    co, last = shape[-1] if inner else shape[0], shape[-1]
    for k in (1, last // 2, last):
        index = np.sort(arrays.RNG.choice(last, k, replace=False)).astype(np.int32)
        part = (*shape[:-1], k)
        w, frac, dw = arrays.s8(*shape), arrays.s8(*part), arrays.s32(1 << 24, *part)
        state, lr = arrays.scale_state(), arrays.rate()
        kernels.check("sgd_partial", w, frac, dw, coefficients(co), state, lr, index, offset=4, inner=inner)


@pytest.mark.parametrize("lr", RATES)
@pytest.mark.parametrize("n", [1, 5, 33])
def test_sgd_bias(kernels: Kernels, n: int, lr: float) -> None:
    most = 1 << 30
    for b in (arrays.s32(most, n), np.full(n, most, np.int32), np.full(n, -most, np.int32)):
        db, state = arrays.s32(1 << 28, n), arrays.scale_state()
        kernels.check("sgd_bias", b, arrays.s8(n), db, coefficients(n), state, arrays.rate(lr), offset=3)
