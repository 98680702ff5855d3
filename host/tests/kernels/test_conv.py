"""Convolutions and their gradients: kernel == record, on shapes chosen to hit every tail and border."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcugrad import ops
from mcugrad.ir import DType, Value
from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from tests.kernels import arrays
from tests.kernels.run import Kernels

CHANNELS = [1, 3, 4, 5, 8, 31, 32, 33]
# height, width, kernel, stride
MAPS = [(1, 1, 1, 1), (4, 4, 3, 1), (5, 3, 3, 2), (9, 9, 3, 2), (8, 8, 5, 1), (7, 9, 5, 2), (6, 6, 7, 1)]
MAPS += [(9, 8, 7, 2), (1, 5, 3, 1), (2, 2, 7, 2), (3, 7, 1, 1), (5, 5, 1, 2), (33, 2, 3, 1), (2, 33, 3, 2)]
BIG = [(33, 33, 1, 1), (32, 32, 3, 1), (33, 17, 5, 2), (16, 32, 7, 1), (2, 90, 3, 1), (2, 90, 3, 2)]

# height, width, channels in and out: few and many pixels, weights that fit widened and those that do not
MATRICES = [(2, 2, 384, 8), (2, 2, 388, 8), (1, 4, 576, 56), (4, 5, 160, 40), (5, 3, 20, 64), (3, 2, 48, 24)]
MATRICES += [(4, 4, 24, 144), (1, 3, 8, 8), (7, 9, 8, 32), (5, 5, 12, 13), (5, 5, 24, 16), (3, 3, 480, 6)]
MATRICES += [(1, 1, 160, 10), (1, 1, 20, 2), (1, 2, 4, 6), (3, 1, 36, 14), (1, 1, 12, 9)]


def out_shape(size: tuple[int, int, int, int], pad: int) -> tuple[int, int]:
    h, width, kernel, stride = size
    return (h + 2 * pad - kernel) // stride + 1, (width + 2 * pad - kernel) // stride + 1


def multipliers(n: int, terms: int) -> Array:
    """Half of the outputs within int8, the rest clamped."""
    return (arrays.multiplier(n) // max(1, int(np.sqrt(terms) * 40))).astype(np.int32)


def forward(
    kernels: Kernels, op: str, size: tuple[int, int, int, int], x_c: int, w: Array, **attrs: Any
) -> None:
    h, width, kernel, stride = size
    channels = w.shape[0] if op == "conv2d" else x_c
    attrs = {"stride": stride, "pad": kernel // 2, "zero_in": 0, "zero_out": -5, "shift": 0} | attrs
    drop = attrs.pop("drop", ())
    b, m = arrays.s32(5000, channels), multipliers(channels, w.size // channels)
    kernels.check(op, arrays.s8(h, width, x_c), w, b, m, drop=drop, **attrs)


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize("c", CHANNELS)
def test_conv2d(kernels: Kernels, size: tuple[int, int, int, int], c: int) -> None:
    for co in (1, 4, 5, 8, 32):
        forward(kernels, "conv2d", size, c, arrays.s8(co, size[2], size[2], c))


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize("c", CHANNELS)
def test_depthwise(kernels: Kernels, size: tuple[int, int, int, int], c: int) -> None:
    forward(kernels, "depthwise_conv2d", size, c, arrays.s8(size[2], size[2], c))


@pytest.mark.parametrize(
    "size", [(64, 16, 3, 1), (31, 31, 7, 2), (9, 16, 7, 1), (33, 20, 5, 2), (3, 2, 5, 1)]
)
@pytest.mark.parametrize("c", CHANNELS)
def test_depthwise_over_its_input(kernels: Kernels, size: tuple[int, int, int, int], c: int) -> None:
    h, width, kernel, stride = size
    x, w = (Value("", DType.S8, s) for s in ((h, width, c), (kernel, kernel, c)))
    place = ops.get("depthwise_conv2d").inplace([x, w], {"stride": stride, "pad": kernel // 2})
    assert place == "start", "then it runs twice, once over x"
    for zero in (-128, 7):
        forward(kernels, "depthwise_conv2d", size, c, arrays.s8(kernel, kernel, c), zero_in=zero)


@pytest.mark.parametrize("size", BIG)
@pytest.mark.parametrize("zero", [-128, 0, 127])
def test_larger_maps_and_zero_points(kernels: Kernels, size: tuple[int, int, int, int], zero: int) -> None:
    kernel = size[2]
    zeros = {"zero_in": zero, "zero_out": -zero - 1}
    forward(kernels, "conv2d", size, 12, arrays.s8(20, kernel, kernel, 12), **zeros)
    forward(kernels, "conv2d", size, 3, arrays.s8(16, kernel, kernel, 3), **zeros)
    forward(kernels, "depthwise_conv2d", size, 12, arrays.s8(kernel, kernel, 12), **zeros)


@pytest.mark.parametrize("op", ["conv2d", "depthwise_conv2d"])
def test_no_mask_no_padding_and_shift(kernels: Kernels, op: str) -> None:
    w = arrays.s8(8, 3, 3, 8) if op == "conv2d" else arrays.s8(3, 3, 8)
    forward(kernels, op, (9, 9, 3, 1), 8, w, drop=("mask",))
    forward(kernels, op, (9, 9, 3, 1), 8, w, pad=0)
    for shift in (1, 3, 8):
        forward(kernels, op, (9, 9, 3, 1), 8, w, shift=shift)


@pytest.mark.parametrize("h, width, ci, co", MATRICES)
@pytest.mark.parametrize("drop", [(), ("mask",)])
def test_matrix_products(
    kernels: Kernels, h: int, width: int, ci: int, co: int, drop: tuple[str, ...]
) -> None:
    for zero in (-128, 0, 127):
        forward(kernels, "conv2d", (h, width, 1, 1), ci, arrays.s8(co, 1, 1, ci), zero_in=zero, drop=drop)
    forward(kernels, "conv2d", (h, width, 1, 1), ci, arrays.s8(co, 1, 1, ci), shift=2, drop=drop)


@pytest.mark.parametrize("c", [1, 3, 4, 5, 12, 20, 48, 64, 65])
@pytest.mark.parametrize("drop", [(), ("mask",)])
def test_windows(kernels: Kernels, c: int, drop: tuple[str, ...]) -> None:
    for size in [(9, 12, 3, 1), (13, 11, 3, 2), (4, 5, 5, 1), (16, 17, 2, 2)]:
        for co in (8, 13):
            forward(kernels, "conv2d", size, c, arrays.s8(co, size[2], size[2], c), zero_in=-128, drop=drop)


@pytest.mark.parametrize("op", ["conv2d", "depthwise_conv2d"])
def test_extreme_sums_do_not_overflow(kernels: Kernels, op: str) -> None:
    w = np.full((8, 7, 7, 160) if op == "conv2d" else (7, 7, 8), -128, np.int8)
    x = np.full((8, 8, 160 if op == "conv2d" else 8), -128, np.int8)
    for sign, zero in ((1, 127), (-1, -128)):
        b = np.full(8, sign * (1 << 30) - (sign > 0), np.int32)
        attrs = {"stride": 1, "pad": 3, "zero_in": zero, "zero_out": 0, "shift": 0}
        for m in (1, 1 << 10, (1 << 31) - 1):
            kernels.check(op, x, w, b, np.full(8, m, np.int32), **attrs)


@pytest.mark.parametrize("c", CHANNELS)
@pytest.mark.parametrize("n", [1, 3, 4, 7, 8])
def test_clamp_dx(kernels: Kernels, n: int, c: int) -> None:
    dy = arrays.gradient(n, n, c)
    mask = fixed.pack_bits(arrays.RNG.random(dy.size) < 0.6)
    kernels.check("clamp_dx", dy, mask, arrays.multiplier(c))


def input_gradient(
    kernels: Kernels, op: str, size: tuple[int, int, int, int], ci: int, co: int, pad: int | None = None
) -> None:
    h, width, kernel, stride = size
    w = arrays.s8(co, kernel, kernel, ci) if op == "conv2d" else arrays.s8(kernel, kernel, ci)
    pad = kernel // 2 if pad is None else pad
    da = arrays.gradient(*out_shape(size, pad), co)
    attrs = {"stride": stride, "pad": pad, "in_shape": (h, width), "offset": 3}
    kernels.check(f"{op}_dx", da, w, arrays.scale_state(), arrays.scale_state(), **attrs)


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize("c", CHANNELS)
def test_input_gradients(kernels: Kernels, size: tuple[int, int, int, int], c: int) -> None:
    for co in (1, 4, 7, 8) if size[2] < 7 else (3, 8):
        input_gradient(kernels, "conv2d", size, c, co)
    input_gradient(kernels, "depthwise_conv2d", size, c, c)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("width", [3, 5, 7, 9, 15])
def test_nothing_beyond_the_map_counts(kernels: Kernels, width: int, kernel: int, stride: int) -> None:
    """All that is not zero would go to columns behind the last one."""
    pad = kernel // 2
    h, w = out_shape((8, width, kernel, stride), pad)
    da, taps = np.zeros((h, w, 8), np.int16), np.zeros((kernel, kernel, 8), np.int8)
    taps[:, -1], da[:, -1] = 127, 16000
    attrs = {"stride": stride, "pad": pad, "in_shape": (8, width), "offset": 3}
    kernels.check("depthwise_conv2d_dx", da, taps, arrays.scale_state(), arrays.scale_state(), **attrs)


@pytest.mark.parametrize("size", BIG)
def test_input_gradients_of_larger_maps(kernels: Kernels, size: tuple[int, int, int, int]) -> None:
    input_gradient(kernels, "conv2d", size, 12, 10)
    input_gradient(kernels, "depthwise_conv2d", size, 12, 12)


@pytest.mark.parametrize("clipped", [2, 32767])
@pytest.mark.parametrize("bits, growth", [(0, -5), (14, 30), (13, 0), (14, 14), (5, 9)])
def test_scale_state_extremes(kernels: Kernels, bits: int, growth: int, clipped: int) -> None:
    w, attrs = arrays.s8(1022, 1, 1, 8), {"stride": 1, "pad": 0, "in_shape": (3, 3), "offset": -7}
    state = np.array([-20, growth, clipped, 3], np.int16)
    for da in (
        arrays.gradient(3, 3, 1022),
        np.full((3, 3, 1022), -16384, np.int16),
        np.zeros((3, 3, 1022), np.int16),
    ):
        kernels.check("conv2d_dx", da, w, np.array([-9, 1, 0, bits], np.int16), state, **attrs)
    kernels.check(
        "conv2d_dx", np.full((3, 3, 1022), -16384, np.int16), np.full_like(w, -128), state, state, **attrs
    )


def weight_gradient(
    kernels: Kernels,
    op: str,
    size: tuple[int, int, int, int],
    ci: int,
    co: int,
    zero: int,
    pad: int | None = None,
) -> None:
    h, width, kernel, stride = size
    pad = kernel // 2 if pad is None else pad
    da = arrays.gradient(*out_shape(size, pad), co)
    attrs = {"stride": stride, "pad": pad, "zero_in": zero, "kernel": (kernel, kernel)}
    kernels.check(f"{op}_dw", da, arrays.s8(h, width, ci), **attrs)


@pytest.mark.parametrize("size", MAPS + BIG)
@pytest.mark.parametrize("c", CHANNELS)
def test_weight_gradients(kernels: Kernels, size: tuple[int, int, int, int], c: int) -> None:
    weight_gradient(kernels, "conv2d", size, c, 6, -128)
    weight_gradient(kernels, "conv2d", size, c, 3, 127)
    weight_gradient(kernels, "depthwise_conv2d", size, c, c, -128)


@pytest.mark.parametrize("size", [16, 17, 23, 31])
def test_weight_gradients_saturate(kernels: Kernels, size: int) -> None:
    for sign in (-1, 1):
        da = np.full((size, size, 4), 16383 * sign, np.int16)
        da[size // 2 :] = -da[size // 2 :] if size == 23 else da[size // 2 :]
        x = np.full((size, size, 4), 127, np.int8)
        attrs = {"stride": 1, "pad": 0, "zero_in": -128, "kernel": (1, 1)}
        kernels.check("conv2d_dw", da, x, **attrs)
        kernels.check("depthwise_conv2d_dw", da, x, **attrs)


@pytest.mark.parametrize("c", CHANNELS)
def test_bias_gradient(kernels: Kernels, c: int) -> None:
    for n in (1, 3, 16, 33):
        kernels.check("conv2d_db", arrays.gradient(n, n, c))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    h=st.integers(1, 14),
    width=st.integers(1, 14),
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    pad=st.integers(0, 3),
    quads=st.booleans(),
    ci=st.integers(1, 20),
    co=st.integers(1, 20),
    zero=st.integers(-128, 127),
    seed=st.integers(0, 1 << 30),
)
def test_any_convolution(
    kernels: Kernels,
    h: int,
    width: int,
    kernel: int,
    stride: int,
    pad: int,
    quads: bool,
    ci: int,
    co: int,
    zero: int,
    seed: int,
) -> None:
    arrays.reseed(seed)
    pad = min(pad, kernel // 2)
    size = (max(h, kernel - 2 * pad), max(width, kernel - 2 * pad), kernel, stride)
    ci, co = (4 * ci, 4 * co) if quads else (ci, co)
    forward(kernels, "conv2d", size, ci, arrays.s8(co, kernel, kernel, ci), zero_in=zero, pad=pad)
    forward(kernels, "depthwise_conv2d", size, ci, arrays.s8(kernel, kernel, ci), zero_in=zero, pad=pad)
    input_gradient(kernels, "conv2d", size, ci, min(co, 1022 // kernel**2), pad)
    input_gradient(kernels, "depthwise_conv2d", size, ci, ci, pad)
    weight_gradient(kernels, "conv2d", size, ci, co, zero, pad)
    weight_gradient(kernels, "depthwise_conv2d", size, ci, ci, zero, pad)
