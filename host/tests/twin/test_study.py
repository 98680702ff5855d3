"""The study command: figures of a small case, lines that are kept, arguments that are wrong."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcugrad import interp
from mcugrad.config import TrainSection
from mcugrad.ir.graph import Array
from mcugrad.sources import Split, open_source
from mcugrad.train import order, rate
from mcugrad.twin import study
from mcugrad.twin.study import Case

HEAD = ["--scheme", "head-only", "--batch", "32", "--lr", "0.2"]


@pytest.fixture(autouse=True)
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")

    class Few:
        classes = few().classes

        def split(self, shape: tuple[int, int, int]) -> Split:
            return few()

    monkeypatch.setattr(study, "open_source", lambda name, seed: Few())


@functools.cache
def few() -> Split:
    whole = open_source("paper-digits").split((28, 28, 1))
    return Split(whole.train.some(64, 0), whole.test.some(40, 0), whole.classes)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_a_case_and_none_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.jsonl"
    arguments = [*HEAD, "--epochs", "2", "--out", str(out)]
    assert study.main(arguments) == 0 and study.main(arguments) == 0
    assert "already in" in capsys.readouterr().out
    (line,) = lines(out)
    assert len(line["accuracy"]) == 3 and len(line["loss"]) == 2 and not line["diverged"]
    assert study.main([*arguments, "--seed", "1"]) == 0
    assert len(lines(out)) == 2


def test_a_torn_line_is_run_again(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    out.write_text('{"case": {"model": "digits')
    assert study.main([*HEAD, "--out", str(out)]) == 0
    assert len(study.known(out)) == 1
    assert study.main([*HEAD, "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 2


def test_batch_1_is_the_training_of_the_board() -> None:
    """Same head, same order, same rates: the weights that the reference gives along train.order and rate."""
    case = Case(scheme="10kb")
    samples = few().train
    graph = study.training_graph(case, 10)
    state, plan, count = interp.initial_state(graph), TrainSection(epochs=1, lr=case.lr), len(samples)
    losses: list[Array] = []
    for step, index in enumerate(order(0, 0, count)):
        x, label = samples[index]
        scalars = interp.scalars(label, rate(step + 1, count, plan))
        env, state = interp.run(graph, {"x": x} | scalars, state)
        losses.append(env["loss"])
    assert study.run(case)["loss"] == [float(np.concatenate(losses).mean())]


def test_validation_images_come_out_of_the_training_images(tmp_path: Path) -> None:
    train, held = study._parts(few(), "validation")
    assert len(held) == 12 and len(train) == 52
    assert np.array_equal(held.pixels, few().train.pixels[4::5])
    assert study.main([*HEAD, "--judge", "validation", "--out", str(tmp_path / "r.jsonl")]) == 0
    (line,) = lines(tmp_path / "r.jsonl")
    assert all(share * 12 == pytest.approx(round(share * 12)) for share in line["accuracy"])


@pytest.mark.parametrize(
    ("scheme", "lr", "batch"), [("head-only", 1e38, 1), ("10kb", 30, 1), ("10kb", 300, 8)]
)
def test_divergence_ends_the_run(scheme: str, lr: float, batch: int) -> None:
    result = study.run(Case(scheme=scheme, lr=lr, batch=batch, epochs=3))
    assert result["diverged"] and len(result["accuracy"]) < 4
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    "wrong", [["--lr", "0"], ["--lr", "nan"], ["--epochs", "-1"], ["--momentum", "1"], ["--update", "int4"]]
)
def test_wrong_arguments(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        study.main(wrong)
    assert error.value.code == 2 and wrong[0] in capsys.readouterr().err


def test_a_scheme_that_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["--scheme", "last-99", "--out", str(tmp_path / "r.jsonl")]) == 3
    assert "--scheme" in capsys.readouterr().err and not (tmp_path / "r.jsonl").exists()
