"""An image to a board: through openocd to a real one, or into the emulated one. The standard library only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from mcugrad.boards import Board
from mcugrad.errors import NoBoardError, UserError
from mcugrad.paths import PACKAGE, ROOT


def openocd_command(board: Board, elf: Path) -> list[str]:
    """Program, verify, reset and leave."""
    probe = board.openocd
    command = [
        "openocd",
        "-f",
        probe.interface,
        "-c",
        f"transport select {probe.transport}",
        "-f",
        probe.target,
    ]
    return [*command, "-c", "reset_config srst_only", "-c", f"program {{{elf}}} verify reset exit"]


def flash(board: Board, elf: Path) -> None:
    """Write the image through the debug probe; NoBoardError where there is no probe."""
    if shutil.which("openocd") is None:
        fix = "install it (Debian: apt install openocd), or use the emulated board"
        raise UserError("openocd is not installed", "PATH", fix)
    done = subprocess.run(openocd_command(board, elf), capture_output=True, text=True)
    if done.returncode:
        raise _blame(board, done.stderr)


def _blame(board: Board, words: str) -> NoBoardError:
    where = "openocd: " + "; ".join(line for line in words.splitlines() if line.startswith("Error"))
    if "open failed" in words:
        fix = f"plug in the {board.name}, allow this user its USB device, or upload to the emulated board"
        return NoBoardError("no debug probe or board found", where, fix)
    return NoBoardError(f"openocd could not program the {board.name}", where, f"run it by hand:\n{words}")


def python() -> str:
    """The interpreter that has the package's dependencies; PlatformIO's own may lack them."""
    venv = ROOT / ".venv" / "bin" / "python"
    return os.environ.get("MCUGRAD_PYTHON") or (str(venv) if venv.exists() else sys.executable)


def emulator_command(board: str, elf: Path | str, link: Path | str = "") -> list[str]:
    """Serves an emulated board at a pty, which gets the name `link`; to be run where mcugrad is found."""
    command = [python(), "-m", "mcugrad.emulator", "--board", board, "--elf", str(elf), "--pty"]
    return [*command, "--link", str(link)] if link else command


def start_emulator(board: Board, elf: Path, folder: Path, link: Path | str = "") -> str:
    """Load the image into an emulated board that lives on in the background; the port it listens on.

    `folder` keeps its process id and its log; an earlier one of this folder is ended first. `link`: a name
    for the port that is the same each time.
    """
    stop_emulator(folder)
    log = folder / "emulator.log"
    command = emulator_command(board.id, elf, link)
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=env, text=True, start_new_session=True
        )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    if not port:
        words = log.read_text().strip().splitlines() or ["it said nothing"]
        raise NoBoardError("the emulated board did not start", str(log), words[-1])
    (folder / "emulator.pid").write_text(str(process.pid))
    return port


def stop_emulator(folder: Path) -> None:
    """End the emulated board that `start_emulator` left in this folder, if it still runs."""
    note = folder / "emulator.pid"
    if note.exists():
        _end(int(note.read_text()))
        note.unlink()


def _end(pid: int) -> None:
    """Only a process that still is an emulated board: the number may belong to another by now."""
    words = Path(f"/proc/{pid}/cmdline")
    if words.exists() and b"mcugrad.emulator" in words.read_bytes():
        os.kill(pid, signal.SIGTERM)
