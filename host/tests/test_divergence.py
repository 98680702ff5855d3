"""One rule for when training has diverged: real trainings on either side of it, and its own promises."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcugrad import boards, pipeline
from mcugrad.codegen.c import write
from mcugrad.config import TrainSection
from mcugrad.divergence import FACTOR, Divergence
from mcugrad.hostmodel import HostModel
from mcugrad.sources import Samples, open_source
from mcugrad.train import order, rate

Losses = st.lists(st.floats(0, 1e30), max_size=60)


@given(st.integers(2, 1000), st.floats(0, 20), Losses)
def test_losses_no_worse_than_the_start_or_guessing_never_diverge(
    classes: int, before: float, losses: list[float]
) -> None:
    watch, worst = Divergence(classes, before), FACTOR * max(before, math.log(classes))
    assert not any(watch.at(min(loss, worst)) for loss in losses)


@given(st.integers(2, 1000), st.floats(0, 20), Losses, st.sampled_from([math.nan, math.inf]))
def test_a_loss_that_is_no_number_diverges_at_once(
    classes: int, before: float, losses: list[float], bad: float
) -> None:
    watch = Divergence(classes, before)
    for loss in losses:
        watch.at(loss)
    assert watch.at(bad)


def test_one_wild_sample_is_no_divergence() -> None:
    watch = Divergence(10, 0.1)
    assert not any(watch.at(loss) for loss in [0.1] * 50 + [200.0] + [0.1] * 50)


def test_a_network_that_is_broken_from_the_start() -> None:
    assert Divergence(10, math.nan).at(1.0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[HostModel, Samples, Samples]:
    pytest.importorskip("sklearn")
    source = open_source("paper-digits")
    compiled = pipeline.compile_job("digits-tiny", "10kb", boards.load("nucleo_f746zg"), 10)
    folder = tmp_path_factory.mktemp("digits")
    split = source.split((28, 28, 1))
    return HostModel(write(compiled.emitted, folder / "gen"), folder / "model.so"), split.train, split.test


@pytest.mark.parametrize(
    ("lr", "expected"),
    [(TrainSection().lr, None), (0.1, None), (0.5, None), (1, 100), (3, 30), (30, 10), (1000, 5)],
)
def test_the_default_network(
    digits: tuple[HostModel, Samples, Samples], lr: float, expected: int | None
) -> None:
    """At usual rates it never fires, also where the loss rises for a while; at wild ones within few steps."""
    model, train, test = digits
    shipped, plan, total = model.state_bytes(), TrainSection(lr=lr), len(train)
    held_out = test.some(100, 0)
    watch = Divergence(10, math.fsum(model.forward(x, y).loss for x, y in held_out) / len(held_out))
    at = None
    for step, index in enumerate(order(0, 0, total), 1):
        x, label = train[index]
        if watch.at(model.step(x, label, rate(step, total, plan)).loss):
            at = step
            break
    model.restore(shipped)
    assert at is None if expected is None else at is not None and at <= expected
