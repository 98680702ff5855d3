"""Folders of the checkout, known once. The C lies outside the wheel, so building needs a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
KERNELS = ROOT / "kernels"
FIRMWARE = ROOT / "firmware"
BOARDS = ROOT / "boards"
BUILD = ROOT / "build"
RESULTS = ROOT / "host" / "results"


def generated(board: str) -> Path:
    """Folder of the C generated for one board."""
    return BUILD / board / "gen"


def elf(board: str) -> Path:
    """The image that scons builds for one board."""
    return BUILD / board / "firmware.elf"
