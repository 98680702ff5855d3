"""The float32 head and the loss: kernel == record in every bit."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from tests.kernels import arrays
from tests.kernels.run import Kernels

SIZES = [(1, 1), (3, 2), (31, 5), (160, 10), (33, 101)]
ATTRS = {"zero": -7, "scale": 0.0235}


@pytest.mark.parametrize("features, classes", SIZES)
def test_linear(kernels: Kernels, features: int, classes: int) -> None:
    w, b, x = arrays.f32(classes, features), arrays.f32(classes), arrays.s8(features)
    kernels.check("linear", x, w, b, **ATTRS)
    kernels.check("linear_dx", arrays.f32(classes), w, **ATTRS)
    kernels.check("linear_sgd", w, b, arrays.f32(classes), x, arrays.rate(), **ATTRS)


@pytest.mark.parametrize("exponent", [-140, -100, -96, -95, -20, 0, 30, 126, 127])
@pytest.mark.parametrize("n", [1, 5, 33])
def test_quantise_dx(kernels: Kernels, n: int, exponent: int) -> None:
    d = np.ldexp(np.clip(arrays.f32(n), -1.9, 1.9), exponent).astype(np.float32)
    kernels.check("quantise_dx", d, arrays.scale_state())
    kernels.check("quantise_dx", np.full(n, np.ldexp(np.float32(-1), exponent)), arrays.scale_state())


@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf, np.nan, np.nextafter(np.float32(2), np.float32(0))])
def test_quantise_dx_of_odd_values(kernels: Kernels, value: float) -> None:
    d = np.array([0.5, value, -0.25], np.float32)
    kernels.check("quantise_dx", d, arrays.scale_state())


@pytest.mark.parametrize("n", [1, 2, 10, 101])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 30.0, 1e4, 1e38])
def test_softmax_xent(kernels: Kernels, n: int, spread: float) -> None:
    for label in {0, n // 2, n - 1}:
        logits = np.clip(arrays.f32(n) * np.float64(spread), -1.6e38, 1.6e38).astype(np.float32)
        kernels.check("softmax_xent", logits, np.array([label], np.int32))


def apply(kernels: Kernels, name: str, x: Array) -> Array:
    function = getattr(kernels.lib, name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return np.array([function(v) for v in x], np.float32)


def test_exponential(kernels: Kernels) -> None:
    x = np.concatenate([-np.logspace(-8, 2, 3000), [0.0, -0.0, -87.0, -86.99999, -np.inf]]).astype(np.float32)
    found = apply(kernels, "mg_expf", x)
    assert found.tobytes() == np.array([fixed.expf(v) for v in x]).tobytes()
    usual = x > -86
    np.testing.assert_allclose(found[usual], np.exp(x[usual].astype(np.float64)), rtol=4e-7)
    assert np.isnan(apply(kernels, "mg_expf", np.array([np.nan], np.float32)))[0]


def test_logarithm(kernels: Kernels) -> None:
    x = np.concatenate([np.logspace(-37, 38, 3000), [1.0, 1.41421354, 1.4142137, 0.0, np.inf]]).astype(
        np.float32
    )
    found = apply(kernels, "mg_logf", x)
    assert found.tobytes() == np.array([fixed.logf(v) for v in x]).tobytes()
    np.testing.assert_allclose(found[:3000], np.log(x[:3000].astype(np.float64)), rtol=3e-7, atol=1e-7)
