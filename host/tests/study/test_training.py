"""A case's figures: the board's own training, validation images, sources in a row, kills, divergence."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcugrad import interp
from mcugrad.config import TrainSection
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.sources import Split, open_source
from mcugrad.study import images, training
from mcugrad.study.case import Case
from mcugrad.train import order, rate

HEAD = Case(scheme="head-only", batch=32, lr=0.2)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(images, "FRONTS", tmp_path / "fronts")
    images.images.cache_clear()

    class Few:
        classes = few().classes

        def split(self, shape: tuple[int, int, int]) -> Split:
            return few()

    for module in (images, training):
        monkeypatch.setattr(module, "open_source", lambda name: Few())


@functools.cache
def few() -> Split:
    whole = open_source("paper-digits").split((28, 28, 1))
    return Split(whole.train.some(64, 0), whole.test.some(40, 0), whole.classes)


def test_the_c_trains_as_the_reference_does() -> None:
    """Same head, same order, same rates: the losses that the reference has along train.order and rate."""
    case = Case()
    samples, graph = few().train, case.graph(10)
    state, plan, count = interp.initial_state(graph), TrainSection(epochs=1, lr=case.lr), len(samples)
    losses: list[Array] = []
    for step, index in enumerate(order(0, 0, count)):
        x, label = samples[index]
        scalars = interp.scalars(label, rate(step + 1, count, plan))
        env, state = interp.run(graph, {"x": x} | scalars, state)
        losses.append(env["loss"])
    assert case.on_device
    assert training.run(case)["loss"] == [np.concatenate(losses).sum(dtype=np.float64) / count]


def test_the_twin_trains_as_the_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(Case(), flip=True, epochs=(2,))
    in_c = training.run(case)
    monkeypatch.setattr(Case, "on_device", False)
    in_torch = training.run(case)
    assert in_c["loss"] == in_torch["loss"] and in_c["accuracy"] == in_torch["accuracy"]


@pytest.mark.parametrize("case", [Case(epochs=(3,)), replace(HEAD, epochs=(3,)), replace(HEAD, momentum=0.9)])
def test_a_kill_between_epochs_changes_nothing(case: Case, tmp_path: Path) -> None:
    case, kept = replace(case, data="a>b", epochs=(2, 2)), tmp_path / "kept.npz"

    def killed(line: str) -> None:
        told.append(line)
        if len(told) in (2, 4):
            raise KeyboardInterrupt

    told: list[str] = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            training.run(case, kept=kept, tell=killed)
    resumed = training.run(case, kept=kept, tell=killed)
    whole = training.run(case)
    assert {k: v for k, v in resumed.items() if k != "seconds"} == {
        k: v for k, v in whole.items() if k != "seconds"
    }
    assert not kept.exists()


def test_sources_are_learned_one_after_the_other() -> None:
    figures = training.run(replace(HEAD, data="a>b", epochs=(1, 2)))
    assert [len(phase) for phase in figures["accuracy"]] == [2, 2] and len(figures["loss"]) == 3
    assert figures["accuracy"][0][1] == figures["accuracy"][1][0]


def test_validation_images_come_out_of_the_training_images() -> None:
    split = images.images("a", (28, 28, 1), "validation")
    assert len(split.test) == 12 and len(split.train) == 52
    assert np.array_equal(split.test.pixels, few().train.pixels[4::5])
    share = training.run(replace(HEAD, judge="validation"))["accuracy"][0][1]
    assert share * 12 == pytest.approx(round(share * 12))


def test_mirrored_images_are_mirrored() -> None:
    both = images.past_front(_front("full"), few().train, True)
    (pixels,) = both.inputs.values()
    assert np.array_equal(pixels[64:], pixels[:64, :, ::-1]) and len(both) == 64
    rows, labels = both.take(np.array([3, 64 + 3]))
    assert labels[0] == labels[1] and np.array_equal(next(iter(rows.values()))[0], pixels[3])


def test_the_front_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    front = _front("10kb")
    first = images.past_front(front, few().train, False)
    monkeypatch.setattr(images, "cached", None)
    again = images.past_front(front, few().train, False)
    assert all(np.array_equal(first.inputs[k], again.inputs[k]) for k in first.inputs)


def test_divergence_ends_the_run() -> None:
    figures = training.run(Case(scheme="head-only", lr=1e38, epochs=(3,)))
    assert figures["diverged"] and len(figures["loss"]) < 3
    json.dumps(figures)


def _front(scheme: str) -> Graph:
    return training.engine(replace(HEAD, scheme=scheme), 10, "cpu").front


@pytest.mark.parametrize("case", [HEAD, Case()])
def test_an_engine_starts_anew(case: Case) -> None:
    first, again = training.run(case), training.run(case)
    assert first["loss"] == again["loss"] and first["accuracy"] == again["accuracy"]
