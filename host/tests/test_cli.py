"""The command line as a user meets it: a run on the emulated board, and every mistake with its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcugrad.paths import ROOT

pytest.importorskip("unicorn")
pytest.importorskip("sklearn")
SCRIPT = [sys.executable, str(ROOT / "host" / "train_on_board.py")]
SMALL = ["--samples", "30", "--held-out", "10", "--epochs", "2"]


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*SCRIPT, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """The events of one small run."""
    out = tmp_path_factory.mktemp("whole")
    return [json.loads(line) for line in run(*SMALL, "--out", str(out), "--json").stdout.splitlines()]


def test_a_run_trains_and_leaves_its_files(whole: list[dict[str, object]]) -> None:
    steps = [e for e in whole if e["event"] == "step"]
    end = whole[-1]
    assert [s["step"] for s in steps] == list(range(1, 61))
    assert [e["step"] for e in whole if e["event"] == "eval"] == [0, 30, 60]
    assert end["event"] == "end"
    assert all(
        Path(str(end[name])).stat().st_size > 0 for name in ("report", "picture", "telemetry", "weights")
    )
    assert (Path(str(end["run"])) / "job.toml").is_file()


def test_peak_sram_is_the_plan_to_the_byte(whole: list[dict[str, object]]) -> None:
    memory = next(e for e in whole if e["event"] == "memory")
    planned = int(str(memory["static"])) + int(str(memory["arena"]))
    assert {e["peak_sram"] for e in whole if e["event"] == "step"} == {planned}


def test_a_killed_run_resumes_to_the_same_weights(whole: list[dict[str, object]], tmp_path: Path) -> None:
    child = subprocess.Popen(
        [*SCRIPT, *SMALL, "--out", str(tmp_path), "--json"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    for line in child.stdout:
        if json.loads(line).get("step") == 40:
            child.send_signal(signal.SIGKILL)
            break
    child.stdout.close()
    child.wait()
    (folder,) = tmp_path.iterdir()
    events = [json.loads(line) for line in run("--resume", str(folder), "--json").stdout.splitlines()]
    assert next(e for e in events if e["event"] == "step")["step"] == 31
    again, first = (Path(str(e[-1]["weights"])).read_bytes() for e in (events, whole))
    assert again == first


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [*SCRIPT, *SMALL, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job that a shell starts in the background inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/telemetry.sqlite-wal")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert "stopped by hand" in errors
    assert "--resume" in errors


def test_a_board_that_goes_away_comes_back(tmp_path: Path) -> None:
    """The emulated one, at once; training goes on from the last checkpoint."""
    command = [*SCRIPT, *SMALL, "--out", str(tmp_path), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout
    for line in child.stdout:
        if json.loads(line).get("step") == 35:
            (emulator,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
            os.kill(int(emulator), signal.SIGKILL)
            break
    rest, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    events = [json.loads(line) for line in rest.splitlines()]
    assert any(e["event"] == "unplugged" for e in events)
    assert [e["step"] for e in events if e["event"] == "step"][-30:] == list(range(31, 61))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--data", "nope"], 3, "no dataset named 'nope'"),
        (["--model", "nope"], 3, "no model named 'nope'"),
        (["--scheme", "nope"], 3, "no scheme 'nope'"),
        (["--board", "nope"], 2, "no board is called 'nope'"),
        (["--epochs", "0"], 2, "--epochs"),
        (["--lr", "nan"], 2, "--lr"),
        (["--seed", "-1"], 2, "--seed"),
        (["--bogus"], 2, "No such option"),
        (["--port", "/dev/ttyNOPE"], 4, "there is no port /dev/ttyNOPE"),
        (["--resume", "/nowhere"], 3, "no run is recorded here"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = run(*arguments, "--out", str(tmp_path / "runs"), code=code)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_finished_run_is_not_resumed(whole: list[dict[str, object]]) -> None:
    assert "this run is complete" in run("--resume", str(whole[-1]["run"]), code=3).stderr


@pytest.mark.parametrize("command", [["plan"], ["compile", "--dump", "plan"], ["--help"]])
def test_the_other_commands(command: list[str]) -> None:
    module = [sys.executable, "-m", "mcugrad", *command]
    done = subprocess.run(module, capture_output=True, text=True, cwd=ROOT / "host", timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_an_unknown_stage_lists_the_known() -> None:
    module = [sys.executable, "-m", "mcugrad", "compile", "--dump", "nope"]
    done = subprocess.run(module, capture_output=True, text=True, cwd=ROOT / "host", timeout=120)
    assert done.returncode == 3
    assert "import, differentiate" in done.stderr
