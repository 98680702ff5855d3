"""A run is done again from its folder: the same samples, losses and weights; any other bit is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcugrad import config, run
from mcugrad.config import Job
from mcugrad.errors import MismatchError, UserError
from mcugrad.sources.replay import SAMPLES

pytest.importorskip("unicorn")
Event = dict[str, Any]


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Forty noisy patterns of ten classes for the default network."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 10
    x = np.clip(rng.integers(0, 256, (10, 28, 28))[y] + rng.normal(0, 40, (60, 28, 28)), 0, 255)
    path = tmp_path / "mine.npz"
    x = x.astype(np.uint8)
    np.savez(path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:], classes=list("0123456789"))
    return path


def job(arrays: Path, out: Path, record: bool) -> Job:
    return Job.model_validate(
        {
            "data": {"source": str(arrays), "samples": 20, "held_out": 5, "seed": 3},
            "train": {"lr": 0.01, "epochs": 2},
            "augment": {"flip": True, "shift": 2, "noise": 9, "brightness": 10},
            "normalise": {"mode": "standard"},
            "run": {"out": str(out), "record": record},
        }
    )


def begun(arrays: Path, tmp_path: Path, record: bool = True) -> Path:
    return run.train(job(arrays, tmp_path / "runs", record), lambda event: None)


def change(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / run.TELEMETRY) as db:
        db.execute(statement)


def test_a_recorded_run_needs_nothing_else(arrays: Path, tmp_path: Path) -> None:
    first, events = begun(arrays, tmp_path), list[Event]()
    arrays.unlink()
    again = run.replay(first, None, events.append)
    told = next(e for e in events if e["event"] == "replayed")
    assert told["steps"] == 40 and told["state_bytes"] > 1000
    assert (again / run.WEIGHTS).read_bytes() == (first / run.WEIGHTS).read_bytes()
    change(first, "UPDATE steps SET loss = loss * 1.0000001 WHERE step = 31")
    with pytest.raises(MismatchError, match="step 31 differs: loss"):
        run.replay(first, None, lambda event: None)
    # What a live source showed cannot be asked for again: the cut run goes on with what it kept.
    change(first, "UPDATE runs SET status = 'stopped'")
    change(first, "DELETE FROM steps WHERE step > 20")
    change(first, "DELETE FROM evals WHERE step > 20")
    change(first, "DELETE FROM checkpoints WHERE step > 20")
    assert run.resume(first, {}, lambda event: None) == first
    assert (again / run.WEIGHTS).read_bytes() == (first / run.WEIGHTS).read_bytes()


def test_an_unrecorded_run_reads_its_source_again_and_checks_it(arrays: Path, tmp_path: Path) -> None:
    first = begun(arrays, tmp_path, record=False)
    assert not (first / SAMPLES).exists()
    found = dict(np.load(arrays))
    found["x_train"][:, 5, 5] ^= 1
    np.savez(arrays, **found)
    with pytest.raises(UserError, match="not those that the run began with"):
        run.replay(first, None, lambda event: None)
    found["x_train"][:, 5, 5] ^= 1
    np.savez(arrays, **found)
    again = run.replay(first, None, lambda event: None)
    assert (again / run.WEIGHTS).read_bytes() == (first / run.WEIGHTS).read_bytes()


def test_the_job_of_a_run_survives_its_file(arrays: Path, tmp_path: Path) -> None:
    wanted = job(arrays, tmp_path, True)
    (tmp_path / "job.toml").write_text(config.dump(wanted))
    assert config.load(tmp_path / "job.toml") == wanted
