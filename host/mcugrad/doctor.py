"""What this machine has and lacks for mcugrad, each lack with its fix."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from mcugrad import paths

_STLINK = 0x0483


@dataclass(frozen=True)
class Finding:
    """One thing looked for. `fix` is empty where it is there; `needed` ones fail the check."""

    name: str
    found: str
    fix: str = ""
    needed: bool = True


def examine() -> list[Finding]:
    """Look at tools, Python parts, data and ports; changes nothing."""
    return [_checkout(), *_tools(), *_packages(), _data(), *_ports()]


def _tools() -> Iterator[Finding]:
    wanted = {
        "arm-none-eabi-gcc": (
            "compiles the firmware",
            "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi",
            True,
        ),
        "gcc": ("compiles kernels and the emulator's hooks", "apt install gcc libc6-dev", True),
        "openocd": ("uploads to a real board", "apt install openocd", False),
        "qemu-system-arm": ("second opinion in tests", "apt install qemu-system-arm", False),
    }
    for name, (use, fix, needed) in wanted.items():
        path = shutil.which(name)
        yield Finding(name, path or f"absent: {use}", "" if path else fix, needed)


def _packages() -> Iterator[Finding]:
    wanted = {
        "unicorn": ("the emulated board", "pip install 'mcugrad[emulator]'"),
        "sklearn": ("data of the default job", "pip install 'mcugrad[demo]'"),
        "torch": ("import of your own network", "pip install 'mcugrad[compile]'"),
        "platformio": ("the pio road", "pip install 'mcugrad[pio]'"),
    }
    for name, (use, fix) in wanted.items():
        there = importlib.util.find_spec(name) is not None
        yield Finding(name, use if there else f"absent: {use}", "" if there else fix, needed=False)


def _data() -> Finding:
    folder = os.environ.get("MCUGRAD_DATA")
    if folder and Path(folder).is_dir():
        return Finding("MCUGRAD_DATA", folder)
    fix = "point it to the folder with the photo datasets and the paper's models"
    return Finding("MCUGRAD_DATA", f"no folder: {folder}" if folder else "not set", fix, needed=False)


def _ports() -> Iterator[Finding]:
    ports = [p for p in list_ports.comports() if p.vid is not None]
    if not ports:
        yield Finding("board", "none plugged in: the emulated board is used", "plug one in", needed=False)
    for port in ports:
        allowed = os.access(port.device, os.R_OK | os.W_OK)
        about = f"{port.description}{' (ST-LINK)' if port.vid == _STLINK else ''}"
        fix = "" if allowed else "sudo usermod -aG dialout $USER, then log in again"
        yield Finding(port.device, about if allowed else f"{about}: no permission", fix)


def _checkout() -> Finding:
    # The C sources lie beside the package in a checkout only.
    there = paths.KERNELS.is_dir()
    return Finding("sources", str(paths.ROOT), "" if there else "clone the repository; pip install -e .")
