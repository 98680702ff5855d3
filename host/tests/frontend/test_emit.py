"""The fixed-point constants against real arithmetic, dead channels, and networks that do not fit the ops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcugrad.errors import UserError
from mcugrad.frontend import emit
from mcugrad.frontend.emit import Conv, multipliers
from mcugrad.ir.graph import Builder, DType, Quant

OUT = Quant(0.05, -10)


def builder(channels: int = 3, size: int = 5) -> Builder:
    b = Builder("t")
    b.input("x", DType.S8, (size, size, channels), Quant(0.02, 4))
    return b


def spec(channels: int = 3, out: int = 2) -> Conv:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (out, 3, 3, channels))
    bias, scale = rng.integers(-1000, 1000, out), np.full(out, 0.01, np.float32)
    return Conv("c", weight, bias, scale, 1, 1, OUT)


@given(st.lists(st.floats(1e-8, 100), min_size=1, max_size=4))
def test_multipliers_are_the_scale_to_31_bits(s_eff: list[float]) -> None:
    mult, shift = multipliers(np.array(s_eff))
    assert mult.dtype == np.int32 and (mult >= 0).all()
    np.testing.assert_allclose(mult * 2.0 ** (shift - 32), s_eff, atol=2.0 ** (shift - 33))
    assert shift == 0 or max(s_eff) * 2.0 ** (33 - shift) >= 2**31


def test_half_needs_a_shift() -> None:
    assert multipliers(np.array([0.5]))[1] == 1
    assert multipliers(np.array([0.5 - 2.0**-34]))[1] == 1
    assert multipliers(np.array([0.499]))[1] == 0


@given(
    st.floats(0.01, 4),
    st.floats(0.01, 4),
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.integers(-128, 127),
)
def test_add_is_within_a_step_of_the_real_sum(r1: float, r2: float, z1: int, z2: int, zy: int) -> None:
    b = Builder("t")
    b.input("a", DType.S8, (2, 2, 1), Quant(r1, z1))
    b.input("b", DType.S8, (2, 2, 1), Quant(r2, z2))
    emit.add(b, "add", "a", "b", Quant(1.0, zy))
    at = b.nodes[0].attrs
    assert 0 < max(at["m1"], at["m2"]) < 2**15 and 1 <= at["sh"] <= 15
    x1, x2 = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    got = (x1 * at["m1"] + x2 * at["m2"] + at["c"]) >> at["sh"]
    assert np.abs(x1 * at["m1"] + x2 * at["m2"] + at["c"]).max() < 2**31
    assert np.abs(got - ((x1 - z1) * r1 + (x2 - z2) * r2 + zy)).max() < 0.5 + 256 * 2.0 ** -at["sh"]


def test_a_conv_has_all_that_the_passes_need() -> None:
    b = builder()
    emit.conv(b, "x", spec())
    node = b.nodes[0]
    assert b.value("c.y").shape == (5, 5, 2) and b.value("c.y").quant == OUT
    assert node.ins == ("x", "c.w", "c.b", "c.m")
    expected = {"stride": 1, "pad": 1, "shift": 0, "zero_in": 4, "zero_out": -10, "dead": (), "index": 0}
    assert {key: node.attrs[key] for key in expected} == expected
    np.testing.assert_allclose(node.attrs["s_eff"], 0.02 * np.float32(0.01) / 0.05)


@pytest.mark.parametrize("depthwise", [False, True])
def test_dead_channels_keep_their_output_and_lose_their_weights(depthwise: bool) -> None:
    conv = spec(out=3)
    if depthwise:
        conv = replace(conv, weight=conv.weight[..., 0].transpose(1, 2, 0), depthwise=True)
    scale = np.array([0.01, 4e-9, 0.02], np.float32)
    b = builder()
    emit.conv(b, "x", replace(conv, w_scale=scale, bias=np.array([5, 2**31 - 1, 7])))
    node, bias = b.nodes[0], b.params["c.b"].data
    assert node.attrs["dead"] == (1,)
    assert not (b.params["c.w"].data[..., 1] if depthwise else b.params["c.w"].data[1]).any()
    assert node.attrs["w_scale"].tolist() == np.array([0.01, 0.01, 0.02], np.float32).tolist()
    assert bias[1] * 0.01 == pytest.approx((2**31 - 1) * 4e-9, abs=0.005)


def test_a_bias_beyond_30_bits_is_dead_too() -> None:
    b = builder()
    emit.conv(b, "x", replace(spec(), bias=np.array([2**30 + 1, 0]), w_scale=np.array([1e-6, 1], np.float32)))
    assert b.nodes[0].attrs["dead"] == (0,)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bias": np.array([2**31, 2**31])}, "do not fit in 32 bits"),
        ({"out": Quant(1e-9, 0), "bias": np.array([2**29, 0])}, "do not fit in 32 bits"),
        ({"weight": np.ones((2, 3, 3, 5))}, "3 input channels, its weights expect 5"),
        ({"weight": np.ones((2, 9, 9, 3)), "pad": 0}, "too small"),
        ({"weight": np.zeros((2, 200, 200, 3))}, "products a sum"),
    ],
)
def test_what_does_not_fit_names_the_layer(change: dict[str, object], what: str) -> None:
    with pytest.raises(UserError, match=what) as error:
        emit.conv(builder(), "x", replace(spec(), **change))  # type: ignore[arg-type]
    assert "c" in error.value.where


def test_adds_of_unlike_maps_and_heads_of_one_class() -> None:
    b = builder()
    emit.conv(b, "x", spec())
    with pytest.raises(UserError, match="cannot add"):
        emit.add(b, "sum", "x", "c.y", OUT)
    with pytest.raises(UserError, match="1 classes"):
        emit.fresh_head(1, 8, 0)


def test_a_fresh_head_follows_its_seed() -> None:
    first, again, other = (emit.fresh_head(10, 16, seed)[0] for seed in (3, 3, 4))
    assert (first == again).all() and (first != other).any()
    assert np.abs(first).max() <= 0.25 and first.dtype == np.float32
