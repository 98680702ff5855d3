"""The table of training modes: same figures as the pieces it is made of."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from mcugrad import modes
from mcugrad.config import Job


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(modes, "BUILD", tmp_path)
    start = Job()
    data = start.data.model_copy(update={"source": "paper-digits", "samples": 60, "held_out": 60})
    return start.model_copy(update={"data": data})


def test_more_training_costs_more_and_learns_more(job: Job, tmp_path: Path) -> None:
    rows = modes.modes(job, ["head-only", "full"], [0.003, 0.01], Console(file=io.StringIO()))
    head, full = rows
    assert head.before == full.before
    assert head.ram < full.ram and head.instructions < full.instructions
    assert full.after > full.before
    assert (tmp_path / "modes-digits-tiny-paper-digits.json").exists()


def test_validation_split_is_apart(job: Job) -> None:
    split = modes._some(modes.open_source(job.data.source, 0).split((28, 28, 1)), job)
    part = modes._validation(split)
    assert len(part.train) + len(part.test) == len(split.train) == 60
