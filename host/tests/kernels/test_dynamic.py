"""Dynamic sparse gradients: kernel == record in all that is defined, nothing behind it is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mcugrad import ops
from mcugrad.ir.graph import Array
from mcugrad.ops.dynamic import ONE, active_count
from tests.kernels import arrays
from tests.kernels.run import FILL, Kernels

CHANNELS = [1, 3, 4, 5, 8, 31, 32, 33]
SHARES = [1, ONE // 8, ONE // 3, ONE // 2, ONE - 1, ONE]
# height, width, kernel, stride
MAPS = [(1, 1, 1, 1), (4, 4, 3, 1), (5, 3, 3, 2), (7, 9, 5, 2), (3, 7, 1, 1), (8, 8, 7, 1), (33, 17, 1, 1)]


def scalar(value: int) -> Array:
    return np.array([value], np.int32)


def check(kernels: Kernels, defined: int, name: str, *ins: Array, **attrs: Any) -> None:
    """The first `defined` elements of the only result."""
    (expected,), (found,) = ops.get(name).ref(*ins, **attrs), kernels(name, *ins, **attrs)
    assert np.array_equal(found.reshape(-1)[:defined], expected.reshape(-1)[:defined])
    assert (found.reshape(-1)[defined:].view(np.uint8) == FILL).all()
    assert not expected.reshape(-1)[defined:].any()


def active(channels: int, share: int, most: int = ONE) -> Array:
    """Some channels, as a share of them chosen by a random norm."""
    norms, places = arrays.s32(1 << 20, channels), active_count(most, channels)
    (chosen,) = ops.get("top_channels").ref(np.abs(norms), scalar(share), most=places)
    return chosen


def packed_like(x: Array, chosen: Array) -> Array:
    """A map of the active channels."""
    (part,) = ops.get("gather_active").ref(x, chosen)
    return part


@pytest.mark.parametrize("least, most", [(1, ONE), (ONE // 8, ONE // 2), (ONE, ONE), (77, 78)])
def test_active_share(kernels: Kernels, least: int, most: int) -> None:
    losses = [0.0, 1e-30, 0.3, 1.0, 2.5, 88.0, 3e38, np.inf, np.nan]
    for loss in losses:
        for worst in (0.0, 1e-38, 1.0, 88.0, 3e38):
            ins = np.array([loss], np.float32), np.array([worst], np.float32)
            kernels.check("active_share", *ins, least=least, most=most)


def test_the_share_goes_from_least_to_most() -> None:
    def share(loss: float, worst: float) -> tuple[int, float]:
        ins = np.array([loss], np.float32), np.array([worst], np.float32)
        found, worst_now = ops.get("active_share").ref(*ins, least=512, most=2048)
        return int(found[0]), float(worst_now[0])

    assert share(0.0, 0.0) == (512, 0.0) and share(0.0, 4.0) == (512, 4.0)
    assert share(2.0, 4.0) == (1280, 4.0)
    assert share(4.0, 4.0) == (2048, 4.0) and share(8.0, 4.0) == (2048, 8.0)


@pytest.mark.parametrize("c", CHANNELS)
@pytest.mark.parametrize("n", [1, 3, 8])
def test_channel_norms(kernels: Kernels, n: int, c: int) -> None:
    kernels.check("channel_norms", arrays.gradient(n, n, c))
    kernels.check("channel_norms", np.zeros((n, n, c), np.int16))


def test_norms_of_the_largest_map_do_not_overflow(kernels: Kernels) -> None:
    da = np.full((256, 256, 5), -16384, np.int16)
    kernels.check("channel_norms", da)
    assert ops.get("channel_norms").ref(da)[0].tolist() == [1 << 30] * 5


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("c", [*CHANNELS, 640])
def test_top_channels(kernels: Kernels, c: int, share: int) -> None:
    count = active_count(share, c)
    for norms in (
        np.abs(arrays.s32(1 << 30, c)),
        np.abs(arrays.s32(3, c)),  # many ties
        np.zeros(c, np.int32),
        np.full(c, 1 << 30, np.int32),
        np.where(np.arange(c) % 2, 5, 6).astype(np.int32),
    ):
        check(kernels, 1 + count, "top_channels", norms, scalar(share), most=count)
        check(kernels, 1 + count, "top_channels", norms, scalar(share), most=active_count(ONE, c))


def test_of_equal_norms_the_lower_channel_is_chosen() -> None:
    norms = np.array([3, 9, 3, 3, 1, 3, 9, 3], np.int32)
    (chosen,) = ops.get("top_channels").ref(norms, scalar(ONE // 2), most=8)
    assert chosen.tolist() == [4, 0, 1, 2, 6, 0, 0, 0, 0]


@pytest.mark.parametrize("share", SHARES)
def test_counts_are_whole_groups_or_all(share: int) -> None:
    for c in range(1, 70):
        count = active_count(share, c)
        assert count == c or (count % 4 == 0 and count < c)
        assert count >= share * c / ONE or count == c


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("c", CHANNELS)
def test_gathers(kernels: Kernels, c: int, share: int) -> None:
    for n in (1, 5):
        chosen = active(c, share)
        defined = n * n * int(chosen[0])
        check(kernels, defined, "gather_active", arrays.s8(n, n, c), chosen)
        check(kernels, defined, "gather_active_dx", arrays.gradient(n, n, c), chosen)


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize("c", [1, 5, 8, 33])
@pytest.mark.parametrize("share", [1, ONE // 2])
def test_weight_gradients(kernels: Kernels, size: tuple[int, int, int, int], c: int, share: int) -> None:
    h, w, kernel, stride = size
    pad, chosen = kernel // 2, active(c, share)
    oh, ow = ((n + 2 * pad - kernel) // stride + 1 for n in (h, w))
    about = {"stride": stride, "pad": pad, "zero_in": -128, "kernel": (kernel, kernel)}
    da, count = packed_like(arrays.gradient(oh, ow, c), chosen), int(chosen[0])
    for ci in (1, 4, 6):
        defined = count * kernel * kernel * ci
        check(kernels, defined, "conv2d_dw_dynamic", da, arrays.s8(h, w, ci), chosen, **about)
    x = packed_like(arrays.s8(h, w, c), chosen)
    check(kernels, kernel * kernel * count, "depthwise_conv2d_dw_dynamic", da, x, chosen, **about)


def test_weight_gradients_saturate(kernels: Kernels) -> None:
    chosen, x = active(8, ONE // 2), np.full((31, 31, 8), 127, np.int8)
    da = packed_like(np.full((31, 31, 8), 16383, np.int16), chosen)
    about = {"stride": 1, "pad": 0, "zero_in": -128, "kernel": (1, 1)}
    check(kernels, 4 * 8, "conv2d_dw_dynamic", da, x, chosen, **about)
    (dw,) = ops.get("depthwise_conv2d_dw_dynamic").ref(da, x, chosen, **about)
    assert dw.reshape(-1)[:4].tolist() == [2**31 - 1] * 4


@pytest.mark.parametrize("lr", [0.01, -3.0, np.nan])
@pytest.mark.parametrize("share", [1, ONE // 3, ONE])
@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize(
    "shape, inner", [((5, 3, 3, 7), 0), ((32, 1, 1, 9), 0), ((3, 3, 31), 1), ((1, 1, 1, 1), 0)]
)
def test_sgd(kernels: Kernels, shape: tuple[int, ...], inner: int, part: bool, share: int, lr: float) -> None:
    last, co = shape[-1], shape[-1] if inner else shape[0]
    index = np.sort(arrays.RNG.choice(last, (last + 1) // 2, replace=False)).astype(np.int32)
    own = (*shape[:-1], index.size) if part else shape
    chosen = active(index.size if part and inner else co, share)
    size = (*own[:-1], chosen.size - 1) if inner else (chosen.size - 1, *own[1:])
    w, frac = arrays.s8(*shape), arrays.s8(*own)
    frac[np.isin(w[..., index] if part else w, (-128, 127))] = 0  # beyond the ends there is no fraction
    ins = (w, frac, arrays.s32(1 << 24, *size), np.abs(arrays.f32(co)) * 2000)
    rest = (arrays.scale_state(), arrays.rate(lr), chosen)
    for offset in (-20, 4, 200):
        if part:
            kernels.check("sgd_dynamic", *ins, *rest, index, offset=offset, inner=inner)
        else:
            kernels.check("sgd_dynamic", *ins, *rest, offset=offset, inner=inner)
