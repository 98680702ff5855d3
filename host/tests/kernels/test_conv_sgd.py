"""Weight gradients that are consumed at once: kernel == gradient, then update, as the records say."""

from __future__ import annotations

import numpy as np
import pytest

from mcugrad.ops.work import BLOCK
from mcugrad.paths import KERNELS
from tests.kernels import arrays
from tests.kernels.run import Kernels
from tests.kernels.test_conv import out_shape
from tests.kernels.test_update import MODES, RATES, coefficients, kept, key

Size = tuple[int, int, int, int]  # height, width, kernel, stride
SIZES = [(5, 3, 1, 1), (6, 5, 3, 2), (17, 17, 1, 1)]


def fused(kernels: Kernels, size: Size, ci: int, co: int, mode: str, lr: float = 0.01) -> None:
    h, width, kernel, stride = size
    about = {"stride": stride, "pad": kernel // 2, "zero_in": -7, "kernel": (kernel, kernel)}
    w, rest = arrays.s8(co, kernel, kernel, ci), kept(mode, co, kernel, kernel, ci)
    da, x = arrays.gradient(*out_shape(size, kernel // 2), co), arrays.s8(h, width, ci)
    rates = coefficients(co), arrays.scale_state(), arrays.rate(lr)
    ins = (w, rest, da, *rates, x)
    kernels.check(f"conv2d_dw_sgd{mode}", *ins, offset=-12, inner=0, **about, **key(mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ci, co", [(7, 12), (6, 70), (34, 5)])
def test_every_path(kernels: Kernels, size: Size, ci: int, co: int, mode: str) -> None:
    fused(kernels, size, ci, co, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("h, width", [(1, 4), (4, 4), (4, 3), (8, 8), (16, 16)])
@pytest.mark.parametrize("ci, co", [(1, 4), (7, 12), (24, 32), (33, 8)])
def test_channel_by_channel(kernels: Kernels, h: int, width: int, ci: int, co: int, mode: str) -> None:
    about = {"stride": 1, "pad": 0, "zero_in": -128 if ci % 2 else 5, "kernel": (1, 1), "planes": 1}
    w, rest = arrays.s8(co, 1, 1, ci), kept(mode, co, 1, 1, ci)
    rates = coefficients(co), arrays.scale_state(), arrays.rate()
    ins = (w, rest, arrays.gradient(h, width, co), *rates, arrays.s8(ci, h, width))
    kernels.check(f"conv2d_dw_sgd{mode}", *ins, offset=-12, inner=0, **about, **key(mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lr", RATES)
def test_hopeless_rates(kernels: Kernels, mode: str, lr: float) -> None:
    fused(kernels, (4, 4, 1, 1), 4, 6, mode, lr)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("co, count", [(24, 8), (140, 132), (7, 7), (9, 4)])
def test_active_channels(kernels: Kernels, size: Size, co: int, count: int) -> None:
    h, width, kernel, stride = size
    about = {"stride": stride, "pad": kernel // 2, "zero_in": 5, "kernel": (kernel, kernel)}
    chosen = np.sort(arrays.RNG.choice(co, count, replace=False))
    active = np.array([count, *chosen, *[0] * (co - count)], np.int32)
    # The ends with a fraction beyond them do not occur, and a step of zero would move them.
    w, frac = np.clip(arrays.s8(co, kernel, kernel, 6), -127, 126), arrays.s8(co, kernel, kernel, 6)
    da = np.zeros((*out_shape(size, kernel // 2), co), np.int16)
    da.reshape(-1)[: da.size // co * count] = arrays.gradient(da.size // co * count)
    rates = coefficients(co), arrays.scale_state(), arrays.rate()
    ins = (w, frac, da, *rates, arrays.s8(h, width, 6), active)
    kernels.check("conv2d_dw_sgd_dynamic", *ins, offset=-12, inner=0, **about)


def test_both_sides_mean_the_same_scratch() -> None:
    assert f"MG_DW_WORK = {BLOCK} " in (KERNELS / "conv_dw_sgd.h").read_text()
