"""PlatformIO's other verbs, offline: what boards/README.md says of each."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcugrad import checkup, flash
from mcugrad.link.identity import WrongFirmwareError
from tests.link.test_ports import PtyBoard
from tests.test_build import STANDIN, pio, pio_verb

EMULATED = "emu_nucleo_f746zg"
pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs the cross compiler")


def test_kernels_on_the_target(tmp_path: Path) -> None:
    """`pio test`: builds the vectors' image, starts it on the emulated board, reads every case."""
    pytest.importorskip("unicorn")
    junit = tmp_path / "junit.xml"
    done = pio_verb(tmp_path, "test", "-e", EMULATED, "--junit-output-path", str(junit))
    flash.stop_emulator(tmp_path / "workspace/build" / EMULATED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert junit.read_text().count("<testcase") > 150
    assert 'failures="0"' in junit.read_text()


def test_size_lists_the_sections(tmp_path: Path) -> None:
    done = pio(tmp_path, "-e", "nucleo_h743zi", "-t", "size")
    assert done.returncode == 0, done.stderr
    assert {".text", ".mg_state", ".arena", ".stack"} <= set(done.stdout.split())


@pytest.mark.skipif(not (shutil.which("cppcheck") or Path(sys.executable).with_name("cppcheck").exists()),
                    reason="needs cppcheck: pip install cppcheck-py")  # fmt: skip
def test_check_finds_nothing_grave(tmp_path: Path) -> None:
    done = pio_verb(
        tmp_path, "check", "-e", "nucleo_f746zg", "--fail-on-defect=high", "--fail-on-defect=medium"
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="needs gdb-multiarch")
def test_debug_starts_gdb_and_openocd(tmp_path: Path) -> None:
    """As far as it goes without a probe."""
    script = tmp_path / "none.gdb"
    script.write_text("")
    done = pio_verb(tmp_path, "debug", "-e", "nucleo_f746zg", "--interface=gdb", "-x", ".pioinit")
    words = done.stdout + done.stderr
    assert "Reading symbols from" in words and "Open On-Chip Debugger" in words and "open failed" in words


@pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="needs gdb-multiarch")
def test_debug_an_emulated_board(tmp_path: Path) -> None:
    """The session starts the board, breaks at main as PlatformIO does, and ends it."""
    pytest.importorskip("unicorn")
    script = tmp_path / "more.gdb"
    script.write_text("continue\nbacktrace\nprint mg_model_name\n")
    words = ("--interface=gdb", "-x", ".pioinit", "-x", str(script), "--batch")
    done = pio_verb(tmp_path, "debug", "-e", EMULATED, *words)
    assert "debug_tool = emulator" in done.stdout, done.stdout + done.stderr
    assert "Temporary breakpoint 1, main" in done.stdout and "#0  main" in done.stdout
    assert '"stand-in"' in done.stdout


def test_ide_files(tmp_path: Path) -> None:
    done = pio_verb(tmp_path, "project metadata", "-e", "nucleo_f746zg", "--json-output")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["nucleo_f746zg"]
    assert found["cc_path"].endswith("arm-none-eabi-gcc")
    assert "MG_BOARD=nucleo_f746zg" in found["defines"]


def test_monitor_shows_the_line(tmp_path: Path) -> None:
    """`pio device monitor` wants a terminal; it says what comes over the port."""
    master, slave = pty.openpty()
    screen, theirs = pty.openpty()
    command = [sys.executable, "-m", "platformio", "device", "monitor", "-p", os.ttyname(slave), "--quiet"]
    env = {**os.environ, "PLATFORMIO_CORE_DIR": str(tmp_path), "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no"}
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=tmp_path)
    shown, end = b"", time.monotonic() + 30
    while b"hello from the board" not in shown and time.monotonic() < end:
        os.write(master, b"hello from the board\r\n")
        if select.select([screen], [], [], 0.5)[0]:
            shown += os.read(screen, 4096)
    child.terminate()
    child.wait()
    assert b"hello from the board" in shown


def test_an_upload_that_did_not_take_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The board at the port answers with another hash than the image that was flashed."""
    board = PtyBoard()
    monkeypatch.setattr(checkup, "image_hash", lambda elf: "ab" * 16)
    with pytest.raises(WrongFirmwareError, match="the image that was flashed is abab"):
        checkup.check_image(board.path, STANDIN)
    monkeypatch.setattr(checkup, "image_hash", lambda elf: board.board.hash.hex())
    assert "with the hash that was flashed" in checkup.check_image(board.path, STANDIN)
    board.unplug()
