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
from mcugrad.telemetry import STEP_COLUMNS, Telemetry

ROW = dict.fromkeys(STEP_COLUMNS, 0)


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


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    log = Telemetry.create(tmp_path / "t.sqlite")
    assert log.last_checkpoint() is None
    for step in (10, 20, 30):
        log.checkpoint(step, bytes([step]))
    last = log.last_checkpoint()
    assert last
    assert (last.step, last.state) == (30, b"\x1e")
    assert [row["step"] for row in log.table("checkpoints")] == [20, 30]
    log.close()


WRITER = """
import sys
from pathlib import Path
from mcugrad.telemetry import STEP_COLUMNS, Telemetry
log = Telemetry.create(Path(sys.argv[1]))
for step in range(1, 1_000_000):
    log.step({**dict.fromkeys(STEP_COLUMNS, 0), "step": step})
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
