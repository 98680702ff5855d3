"""Weights kept in two places: kernel == the convolution, and its input gradient, of the merged weights."""

from __future__ import annotations

import numpy as np
import pytest

from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from tests.kernels import arrays
from tests.kernels.run import Kernels
from tests.kernels.test_conv import multipliers


def trained(ci: int, k: int) -> Array:
    return np.sort(arrays.RNG.choice(ci, k, replace=False)).astype(np.int32)


SHAPES = [(1, 1, 4, 4), (3, 5, 8, 12), (4, 4, 12, 8), (2, 3, 48, 20), (4, 5, 160, 40), (1, 4, 128, 56)]


@pytest.mark.parametrize("h, w, ci, co", SHAPES)
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_forward_and_input_gradient(kernels: Kernels, h: int, w: int, ci: int, co: int, share: float) -> None:
    index = trained(ci, max(1, int(ci * share)))
    plane, part = arrays.s8(co, 1, 1, ci), arrays.s8(co, 1, 1, len(index))
    x, b, m = arrays.s8(h, w, ci), arrays.s32(9000, co), multipliers(co, ci)
    about = {"stride": 1, "pad": 0}
    sums = {"zero_in": -128, "zero_out": 3, "shift": 0, **about}
    for drop in ((), ("mask",)):
        kernels.check("conv2d_part", x, plane, b, m, part, index, drop=drop, **sums)
    da, states = arrays.gradient(h, w, co), (arrays.scale_state(), arrays.scale_state())
    kernels.check("conv2d_dx_part", da, plane, *states, part, index, in_shape=(h, w), offset=-3, **about)


@pytest.mark.parametrize("shape", [(5, 3, 3, 7), (4, 1, 1, 12), (3, 3, 9)])
def test_merge(kernels: Kernels, shape: tuple[int, ...]) -> None:
    for k in (1, shape[-1] // 2, shape[-1]):
        index = trained(shape[-1], k)
        ins = arrays.s8(*shape), arrays.s8(*shape[:-1], k), index
        kernels.check("merge", *ins)
        kernels.check("merge_dx", *ins)


def test_masks_are_packed_alike(kernels: Kernels) -> None:
    index, big = trained(4, 2), np.full((2, 1, 1, 4), 127, np.int8)
    x = np.full((1, 3, 4), 127, np.int8)
    m = np.full(2, (1 << 31) - 1, np.int32)
    about = {"zero_in": -128, "zero_out": 0, "shift": 0, "stride": 1, "pad": 0}
    ins = (x, big, np.array([0, -129540], np.int32), m, big[..., :2], index)
    mask = kernels("conv2d_part", *ins, **about)[1]
    assert fixed.unpack_bits(mask, (1, 3, 2)).reshape(-1).tolist() == [False, True] * 3
