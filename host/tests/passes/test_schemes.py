"""Sparse schemes: the paper's table reproduces its KB column; selections and errors."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcugrad.data import model_path
from mcugrad.errors import UserError
from mcugrad.frontend import emit, store
from mcugrad.ir.graph import Builder, DType, Graph, Quant
from mcugrad.passes.schemes import (
    SCHEMES,
    Scheme,
    analytic_memory,
    convolutions,
    parse_scheme,
    scheme_for,
    select_channels,
)
from mcugrad.pipeline import training_graph
from tests.models import paper_model

PUBLISHED = {
    "mbv2-w0.35": {"49kb": 49.8, "73kb": 73.9, "99kb": 99.4, "123kb": 123.6, "138kb": 138.2},
    "mcunet-5fps": {"49kb": 49.8, "74kb": 74.8, "99kb": 99.8, "125kb": 125.0, "148kb": 148.4},
    "proxyless-w0.3": {"49kb": 49.7, "74kb": 74.9, "98kb": 98.5, "120kb": 120.2, "148kb": 148.2},
}


def small() -> Graph:
    """1x1 convolution 4 -> 6 on 3x3 maps, depthwise 3x3, pool, head of 2; weights grow with the channel."""
    b = Builder("small")
    b.input("x", DType.S8, (3, 3, 4), Quant(0.1, -5))
    wide = np.tile(np.array([3, 1, 3, 2]), (6, 1)).reshape(6, 1, 1, 4)
    deep = np.tile(np.arange(6), (3, 3, 1))
    scale, bias, out = np.full(6, 0.01, np.float32), np.zeros(6, np.int64), Quant(0.2, 0)
    y = emit.conv(b, "x", emit.Conv("pw", wide, bias, scale, 1, 0, out))
    y = emit.conv(b, y, emit.Conv("dw", deep, bias, scale, 1, 1, out, depthwise=True))
    weight, offset = emit.fresh_head(2, 6, 0)
    return b.build(logits=emit.linear(b, "head", emit.avgpool(b, "pool", y, out), weight, offset))


@pytest.mark.parametrize(("model", "name"), [(m, n) for m, table in PUBLISHED.items() for n in table])
def test_analytic_memory_is_the_published_figure(model: str, name: str) -> None:
    graph = paper_model(model)
    assert f"{analytic_memory(graph, scheme_for(graph, name)) / 1024:.1f}" == str(PUBLISHED[model][name])


def test_the_table_has_15_schemes_under_the_published_names() -> None:
    paper = {model: list(SCHEMES[model]) for model in PUBLISHED}
    assert paper == {model: list(table) for model, table in PUBLISHED.items()}


def test_the_default_network_s_scheme_is_named_by_its_size() -> None:
    graph = store.load(model_path("digits-tiny"))
    assert analytic_memory(graph, scheme_for(graph, "10kb")) // 1024 == 10


def test_analytic_memory_by_hand() -> None:
    graph = small()
    # 2 of 4 channels: 12 weights, 2 saved maps of 9; 6 int32 biases, 54 clamp bits; 6 bytes for the head.
    scheme = Scheme(1, {0: Fraction(1, 2)})
    assert analytic_memory(graph, scheme) == 12 + 18 + 24 + 54 / 8 // 1 + 6
    assert analytic_memory(graph, Scheme(0)) == 6


def test_channels_have_the_largest_norm_and_the_lower_index_first() -> None:
    graph = small()
    assert select_channels(graph, 0, Fraction(1, 4)) == (0,)
    assert select_channels(graph, 0, Fraction(3, 4)) == (0, 2, 3)
    assert select_channels(graph, 1, Fraction(1, 2)) == (3, 4, 5)
    assert select_channels(graph, 1, Fraction(1, 100)) == (5,)
    assert select_channels(graph, 1, Fraction(0)) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("full", Scheme(2, {0: Fraction(1), 1: Fraction(1)})),
        ("last-1", Scheme(1, {1: Fraction(1)})),
        ("bias-only", Scheme(2)),
        ("head-only", Scheme(0)),
        (" 1 0:1/4 ", Scheme(1, {0: Fraction(1, 4)})),
    ],
)
def test_named_schemes(text: str, expected: Scheme) -> None:
    assert scheme_for(small(), text) == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("49kb", "no scheme '49kb' for small"),
        ("last-3", "only 2 convolutions"),
        ("last-0", "no scheme 'last-0' for small"),
        ("3", "there are no 3 biases"),
        ("1 2:1", "there is no convolution 2"),
        ("1 0:5/4", "convolution 0: share 5/4"),
        ("1 0:0", "convolution 0: share 0"),
        ("1 0:0/3", "convolution 0: share 0"),
        ("1 0:1 1:1 0:1/2", "convolution 0 is named twice"),
        ("1 0:1/0", "'0:1/0' is no convolution and share"),
        ("1 0:-1/2", "'0:-1/2' is no convolution and share"),
        ("1 -1:1/2", "'-1:1/2' is no convolution and share"),
        ("1 0", "'0' is no convolution and share"),
        ("1 pw:1", "'pw:1' is no convolution and share"),
        ("-1", "no scheme '-1'"),
        ("", "no scheme ''"),
        ("dynamic:1/2..1/4 1", "shares 1/2..1/4"),
        ("dynamic:0..1/4 1", "shares 0..1/4"),
        ("dynamic", "unreadable scheme"),
        (f"1 0:{'9' * 5000}", "is no convolution and share"),
    ],
)
def test_a_wrong_scheme_says_what_is_wrong(text: str, what: str) -> None:
    with pytest.raises(UserError) as error:
        scheme_for(small(), text)
    assert what in error.value.what
    assert error.value.fix


def test_a_wrong_scheme_lists_what_there_is() -> None:
    graph = store.load(model_path("digits-tiny"))
    for text, listed in [
        ("9 18:1", "0 (conv0) to 17 (b5.pw2)"),
        ("nope", "10kb, full, last-<k>, bias-only, head-only"),
        ("19", "begin with 18 or less"),
    ]:
        with pytest.raises(UserError) as error:
            scheme_for(graph, text)
        assert listed in error.value.fix


GRAPH = small()
WORDS = st.sampled_from(
    "dynamic dynamic:1/8..1/2 full last-1 head-only 1 2 0:1 0:1/2 1:3/4 1:2 0:0 - x".split()
)


@given(st.text(max_size=20) | st.lists(WORDS, max_size=5).map(" ".join))
def test_any_text_is_a_scheme_of_the_network_or_refused(text: str) -> None:
    try:
        scheme = scheme_for(GRAPH, text)
    except UserError as error:
        assert error.exit_code == 3 and error.fix
        return
    assert 0 <= scheme.biases <= 2
    assert all(0 <= index < 2 and 0 < share <= 1 for index, share in scheme.weights.items())
    assert scheme_for(GRAPH, str(scheme)) == scheme


def test_parse_and_index() -> None:
    assert parse_scheme("20 24:1/4 27:1") == Scheme(20, {24: Fraction(1, 4), 27: Fraction(1)})
    assert [n.layer for n in convolutions(small())] == ["pw", "dw"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dynamic full", (Fraction(1, 8), Fraction(1))),
        ("Dynamic:1/4..1 last-1", (Fraction(1, 4), Fraction(1))),
        ("dynamic:1..1  1 0:1/4", (Fraction(1), Fraction(1))),
    ],
)
def test_dynamic_schemes(text: str, expected: tuple[Fraction, Fraction]) -> None:
    scheme = scheme_for(small(), text)
    static = scheme_for(small(), text.split(maxsplit=1)[1])
    assert scheme == replace(static, dynamic=expected)
    assert scheme_for(small(), str(scheme)) == scheme


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("dynamic", "unreadable scheme 'dynamic'"),
        ("dynamic:1/2 full", "unreadable"),
        ("dynamic:0..1/2 full", "shares 0..1/2"),
        ("dynamic:1/2..1/8 full", "shares 1/2..1/8"),
        ("dynamic:1/2..3/2 full", "shares 1/2..3/2"),
        ("dynamical full", "unreadable"),
        ("dynamic nothing", "no scheme 'nothing' for small"),
        ("dynamic dynamic full", "no scheme 'dynamic full'"),
    ],
)
def test_a_wrong_dynamic_scheme_says_what_is_wrong(text: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        scheme_for(small(), text)


def test_dynamic_gradients_want_the_update_mode_8_8() -> None:
    for update in ("int8", "fp32"):
        with pytest.raises(UserError, match=f"cannot be applied by sgd_{update}"):
            training_graph(small(), "dynamic full", update=update)
