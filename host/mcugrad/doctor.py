"""What this machine has and lacks for mcugrad, each lack with its fix."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mcugrad import paths
from mcugrad.checkup import Finding, examine_board
from mcugrad.link.ports import describe, usb_ports


def examine(port: str | None = None) -> list[Finding]:
    """Look at tools, Python parts, data, and the boards at all ports or at one; changes nothing."""
    boards = examine_board(port) if port else _ports()
    return [_checkout(), *_tools(), *_packages(), _data(), *boards]


def _tools() -> Iterator[Finding]:
    wanted = {
        "arm-none-eabi-gcc": (
            "compiles the firmware",
            "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi",
            True,
        ),
        "gcc": ("compiles kernels and the emulator's hooks", "apt install gcc libc6-dev", True),
        "openocd": ("uploads to a real board", "apt install openocd", False),
        "gdb-multiarch": ("debugs boards, real and emulated", "apt install gdb-multiarch", False),
        "qemu-system-arm": ("second opinion in tests", "apt install qemu-system-arm", False),
    }
    for name, (use, fix, needed) in wanted.items():
        path = shutil.which(name)
        yield Finding(name, path or f"absent: {use}", "" if path else fix, needed)


# Module -> the extra of pyproject.toml that brings it, and what it is for.
PARTS = {
    "unicorn": ("emulator", "the emulated board"),
    "capstone": ("emulator", "instruction counts and estimated cycles of the emulated board"),
    "sklearn": ("demo", "data of the default job"),
    "torch": ("compile", "import of your own network"),
    "ortools": ("compile", "the solver that lowers the plan's peak"),
    "optuna": ("search", "search for a scheme"),
    "platformio": ("pio", "the pio road"),
    "cv2": ("camera", "camera and video as a source"),
    "soundfile": ("audio", "sound files as a source"),
    "sounddevice": ("audio", "microphone as a source"),
    "textual": ("tui", "train --tui"),
    "textual_plotext": ("tui", "curves of train --tui"),
    "tensorboardX": ("export", "export --to tensorboard"),
    "pyarrow": ("export", "export --to parquet"),
}


def _packages() -> Iterator[Finding]:
    for name, (extra, use) in PARTS.items():
        there = importlib.util.find_spec(name) is not None
        fix = "" if there else f"pip install 'mcugrad[{extra}]'"
        yield Finding(name, use if there else f"absent: {use}", fix, needed=False)
    if ctypes.util.find_library("portaudio") is None:
        yield Finding(
            "portaudio", "absent: microphone as a source", "apt install libportaudio2", needed=False
        )


def _data() -> Finding:
    folder = os.environ.get("MCUGRAD_DATA")
    if folder and Path(folder).is_dir():
        return Finding("MCUGRAD_DATA", folder)
    fix = "point it to the folder with the photo datasets and the paper's models"
    return Finding("MCUGRAD_DATA", f"no folder: {folder}" if folder else "not set", fix, needed=False)


def _ports() -> Iterator[Finding]:
    ports = usb_ports()
    if not ports:
        yield Finding("board", "none plugged in: the emulated board is used", "plug one in", needed=False)
    for port in ports:
        yield from examine_board(port.device, describe(port))


def _checkout() -> Finding:
    # The C sources lie beside the package in a checkout only.
    there = paths.KERNELS.is_dir()
    return Finding("sources", str(paths.ROOT), "" if there else "clone the repository; pip install -e .")
