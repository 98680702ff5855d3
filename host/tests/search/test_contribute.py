"""Contribution analysis: cells trained once each, gains that are sums, mistakes named."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from mcugrad import records
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.passes.schemes import Scheme, convolutions, parse_scheme
from mcugrad.search.contribute import Analysis, cells, contribute, layers
from mcugrad.search.gains import Gains, Training
from mcugrad.search.short import Short, earliest

ANALYSIS = Analysis(Training(samples=40, epochs=1), 0.05, 0)
WANTED = [Scheme(0), Scheme(2), Scheme(0, {15: Fraction(1, 2)})]


@pytest.fixture(autouse=True)
def digits() -> None:
    pytest.importorskip("sklearn")


def ignore(line: str) -> None:
    pass


def test_a_killed_analysis_goes_on_and_trains_no_cell_twice(tmp_path: Path) -> None:
    out, said = tmp_path / "c.jsonl", list[str]()
    contribute(ANALYSIS, WANTED[:2], out, ignore)
    whole = out.read_text()
    out.write_text(whole + '{"case": {"model"')
    contribute(ANALYSIS, WANTED, out, said.append)
    assert said[0].startswith("2 of 3 cells") and len(said) == 3
    assert [r["case"]["scheme"] for r in records.read(out)] == ["0", "2", "0 15:1/2"]
    assert out.read_text().startswith(whole)


def test_a_file_of_another_analysis_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    contribute(ANALYSIS, WANTED[:1], out, ignore)
    with pytest.raises(UserError, match=r"another analysis \(lr = 0.05, not 0.1\)"):
        contribute(replace(ANALYSIS, lr=0.1), WANTED[:1], out, ignore)
    assert len(records.read(out)) == 1


def test_where_the_common_front_ends_changes_no_figure() -> None:
    near, far = (Short(ANALYSIS.training, first) for first in (15, 3))
    for scheme in ("0 15:1/2", "0", "2 16:1"):
        figures = [s.run(scheme, 0.05, 0, "test") for s in (near, far)]
        assert figures[0]["accuracy"] == figures[1]["accuracy"] and figures[0]["loss"] == figures[1]["loss"]


def test_training_a_layer_lowers_the_loss_on_images_not_trained_on() -> None:
    short = Short(Training(samples=200, epochs=2), 9)
    assert short.run("9 9:1 12:1 15:1", 0.05, 0)["loss"] < short.run("0", 0.05, 0)["loss"]
    wild = short.run("9 9:1 12:1", 10, 0)
    assert wild["diverged"] and wild["loss"], "finite, but more than ten times that of guessing"


def test_integer_gradients_and_divergence() -> None:
    short = Short(replace(ANALYSIS.training, gradients="integer"), 15)
    assert not short.run("0 15:1", 0.05, 0)["diverged"]
    assert short.run("0 15:1", 1e38, 0)["diverged"]


def test_cells_cover_the_layers_and_stop_before_the_frozen_ones() -> None:
    found = cells(layers("15-17", 18), 18)
    assert found[0] == Scheme(0) and [s.biases for s in found if s.biases] == [1, 2, 3]
    assert {i for s in found for i in s.weights} == {15, 16, 17}
    forward = models.load("digits-tiny", 10)
    assert len(convolutions(forward)) == 18 and earliest(forward, [str(s) for s in found]) == 15


@pytest.mark.parametrize(("text", "words"), [("3 99", "no convolution 99"), ("x", "unreadable layers")])
def test_layers_that_are_not(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        layers(text, 19)


def test_gains_add_up_and_biases_are_interpolated(analysis: Path) -> None:
    gains = Gains.load(analysis, "loss")
    assert gains.of(parse_scheme("4 9:1 15:1/8")) == pytest.approx(0.2 + 0.1 / 3 + 0.3 + 0.4)
    assert gains.of(parse_scheme("7")) is None and gains.of(parse_scheme("0 8:1")) is None
    assert Gains.load(analysis, "accuracy").of(parse_scheme("3")) == pytest.approx(0.05)


def test_a_file_without_an_analysis(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not there"):
        Gains.load(tmp_path / "none.jsonl", "loss")


def test_a_layer_that_gains_less_when_more_of_it_trains_is_not_offered(analysis: Path) -> None:
    lines = [dict(line) for line in records.read(analysis)]
    whole = next(line for line in lines if line["case"]["scheme"] == "0 12:1")
    whole["loss"] = 1.8
    assert sorted(Gains(lines, "loss", "").weights) == [9, 15]
