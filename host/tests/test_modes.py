"""The table of training modes: same figures as the pieces it is made of."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from mcugrad import modes
from mcugrad.config import Job
from mcugrad.errors import UserError


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(modes, "BUILD", tmp_path)
    start = Job()
    data = start.data.model_copy(update={"source": "paper-digits", "samples": 60, "held_out": 60})
    return start.model_copy(update={"data": data})


def test_more_training_costs_more_and_learns_more(job: Job, tmp_path: Path) -> None:
    rows = modes.modes(job, ["head-only", "full"], [30, 0.01], Console(file=io.StringIO()))
    head, full = rows
    assert head.before == full.before
    assert head.ram < full.ram and head.instructions < full.instructions
    assert full.lr == 0.01, "a rate that diverges is not chosen"
    assert full.after is not None and full.after > full.before
    assert (tmp_path / "modes-digits-tiny-paper-digits.json").exists()


def test_validation_split_is_apart(job: Job) -> None:
    split = modes.open_source(job.data.source).split((28, 28, 1)).some(60, 60, 0)
    part = modes._validation(split)
    assert len(part.train) + len(part.test) == len(split.train) == 60


def test_divergence_is_said(job: Job) -> None:
    show = Console(file=io.StringIO(), width=110)
    (row,) = modes.modes(job, ["10kb"], [30], show)
    assert row.after is None and "diverged" in show.file.getvalue()  # type: ignore[attr-defined]


def test_a_wrong_scheme_is_named_before_the_first_is_trained(job: Job) -> None:
    show = Console(file=io.StringIO(), width=110)
    with pytest.raises(UserError, match="no scheme 'nope'"):
        modes.modes(job, ["10kb", "nope"], [0.01], show)
    assert not show.file.getvalue()  # type: ignore[attr-defined]
