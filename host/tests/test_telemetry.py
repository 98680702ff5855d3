"""The run's database: what goes in comes out, and a killed process loses nothing but the step under way."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcugrad.errors import UserError
from mcugrad.paths import ROOT
from mcugrad.telemetry import LINK_COLUMNS, STEP_COLUMNS, Checkpoint, Telemetry

ROW = dict.fromkeys((*STEP_COLUMNS, *LINK_COLUMNS), 0)


def test_a_run_and_its_rows(tmp_path: Path) -> None:
    log = Telemetry.create(tmp_path / "t.sqlite", job={"a": 1}, manifest={}, board={"id": "x"}, memory=[])
    for step in (1, 2, 2):
        log.step({**ROW, "step": step, "loss": step / 2})
    log.evaluation(0, 0.25, 1.5, [1, 2])
    log.end("done")
    log.close()
    again = Telemetry.open(tmp_path / "t.sqlite")
    assert [row["loss"] for row in again.table("steps")] == [0.5, 1.0]
    assert again.table("evals")[0]["samples"] == 2
    assert (again.run["job"], again.run["status"]) == ({"a": 1}, "done")
    again.close()


def logged(path: Path, losses: list[float], every: int = 10) -> Telemetry:
    """A run with these losses and a checkpoint after every few steps."""
    log = Telemetry.create(path)
    log.checkpoint(0, b"0")
    for step, loss in enumerate(losses, 1):
        log.step({**ROW, "step": step, "loss": loss})
        if step % every == 0:
            log.checkpoint(step, str(step).encode())
    return log


def test_the_last_checkpoint_is_the_last_one(tmp_path: Path) -> None:
    log = Telemetry.create(tmp_path / "t.sqlite")
    assert log.last_checkpoint() is None and log.good_checkpoint() is None
    for step in (10, 20, 30):
        log.checkpoint(step, bytes([step]))
    assert log.last_checkpoint() == Checkpoint(30, b"\x1e")
    log.close()


@pytest.mark.parametrize(
    ("losses", "good"),
    [
        ([1.0] * 5, 0),  # nothing is proved yet: as the network came
        ([5.0] * 10 + [2.0] * 9, 0),
        ([5.0] * 20 + [2.0] * 20 + [1.0] * 20, 40),
        ([2.0] * 50 + [300.0] * 6, 30),  # spoilt by the update of step 50, whose own loss was still good
        ([2.0] * 40 + [9.0] * 200, 20),  # kept, however long it goes on
        ([50.0] * 60, 40),
    ],
)
def test_a_good_checkpoint_is_proved_by_the_steps_that_followed(
    tmp_path: Path, losses: list[float], good: int
) -> None:
    log = logged(tmp_path / "t.sqlite", losses)
    assert log.good_checkpoint() == Checkpoint(good, str(good).encode())
    log.close()


def test_few_checkpoints_are_kept(tmp_path: Path) -> None:
    log = logged(tmp_path / "t.sqlite", [1 / step for step in range(1, 301)])
    assert [row["step"] for row in log.table("checkpoints")] == [280, 290, 300]
    log.close()


WRITER = """
import sys
from pathlib import Path
from mcugrad.telemetry import LINK_COLUMNS, STEP_COLUMNS, Telemetry
log = Telemetry.create(Path(sys.argv[1]))
for step in range(1, 1_000_000):
    log.step({**dict.fromkeys((*STEP_COLUMNS, *LINK_COLUMNS), 0), "step": step})
    log.checkpoint(step, bytes(20000))
    print(step, flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.02, 0.05])
def test_a_killed_run_keeps_every_step_it_reported(tmp_path: Path, wait: float) -> None:
    path = tmp_path / "t.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT / "host")}
    )
    assert child.stdout
    child.stdout.readline()
    time.sleep(wait)
    child.send_signal(signal.SIGKILL)
    reported = 1 + len(child.stdout.read().splitlines())
    child.wait()
    child.stdout.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    log = Telemetry.open(path)
    assert reported <= len(log.table("steps")) <= reported + 1
    log.close()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run is recorded"):
        Telemetry.open(tmp_path / "t.sqlite")
    (tmp_path / "t.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(UserError, match="damaged"):
        Telemetry.open(tmp_path / "t.sqlite")
    sqlite3.connect(tmp_path / "other.sqlite").execute("PRAGMA user_version = 9").connection.close()
    with pytest.raises(UserError, match="format 9"):
        Telemetry.open(tmp_path / "other.sqlite")
