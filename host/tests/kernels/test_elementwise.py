"""Adds, gathers, pools: kernel == record."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels import arrays
from tests.kernels.run import Kernels

LENGTHS = [1, 3, 4, 5, 8, 31, 32, 33, 257]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize(
    "m1, m2, sh", [(16384, 20000, 15), (-32768, 32767, 1), (300, 17, 8), (32767, 32767, 14)]
)
def test_add(kernels: Kernels, n: int, m1: int, m2: int, sh: int) -> None:
    for zeros in ((-128, 127, 3), (0, 0, 0), (127, -128, -128)):
        c = (zeros[2] << sh) - zeros[0] * m1 - zeros[1] * m2 + (1 << (sh - 1))
        kernels.check("add", arrays.s8(n), arrays.s8(n), m1=m1, m2=m2, c=c, sh=sh)


@pytest.mark.parametrize("n", LENGTHS)
def test_scale_dx(kernels: Kernels, n: int) -> None:
    for m in (0, 1, 1 << 30, (1 << 31) - 1):
        kernels.check("scale_dx", arrays.gradient(n), m=m)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("apart", [-40, -24, -3, 0, 1, 9, 33])
def test_sum_dx(kernels: Kernels, n: int, apart: int) -> None:
    a, b = arrays.scale_state(), arrays.scale_state()
    b[0] = a[0] + apart
    for growth in (-2, 0, 3, 12):
        grads = arrays.gradient(n), arrays.gradient(n)
        kernels.check("sum_dx", *grads, a, b, arrays.scale_state(growth), offset_a=4, offset_b=-1)
    zeros = np.zeros(n, np.int16)
    kernels.check("sum_dx", zeros, zeros, a, b, arrays.scale_state(), offset_a=0, offset_b=0)


@pytest.mark.parametrize("c, k", [(1, 1), (5, 3), (33, 17), (32, 32), (8, 4)])
def test_gathers(kernels: Kernels, c: int, k: int) -> None:
    index = np.sort(arrays.RNG.choice(c, k, replace=False)).astype(np.int32)
    kernels.check("gather", arrays.s8(5, 3, c), index)
    kernels.check("gather_planes", arrays.s8(5, 3, c), index)
    kernels.check("gather_dx", arrays.gradient(5, 3, c), index)


@pytest.mark.parametrize("c", LENGTHS[:-1])
@pytest.mark.parametrize("h, w", [(1, 1), (4, 4), (7, 5), (33, 33)])
def test_avgpool(kernels: Kernels, h: int, w: int, c: int) -> None:
    for zero, shift in ((-128, 0), (0, 0), (127, 2)):
        mult = round(2**32 / (h * w) * 0.45)
        kernels.check("avgpool", arrays.s8(h, w, c), mult=mult, shift=shift, zero_in=zero, zero_out=-zero - 1)
    kernels.check("avgpool_dx", arrays.gradient(c), m=(1 << 31) - 77, in_shape=(h, w))
