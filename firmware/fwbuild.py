"""THE build description: sources, flags and linker script of the firmware, for plain scons and for PlatformIO alike.

`firmware(env, ...)` takes any SCons environment and leaves <out>/firmware.elf and firmware.bin, the same bytes each time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "host"))

from mcugrad import boards
from mcugrad.link.messages import header_text

CPU = ["-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard"]
CODE = ["-std=gnu11", "-O3", "-g", "-ffp-contract=off", "-fno-math-errno", "-ffunction-sections", "-fdata-sections"]
WARN = ["-Wall", "-Wextra", "-Werror", "-Wdouble-promotion"]
LINK = ["-nostartfiles", "-Wl,--gc-sections", "-Wl,--fatal-warnings", "-Wl,--build-id=none"]


def sources(board):
    """C files of one board, relative to the root, without the generated ones."""
    own = [f"firmware/{name}.c" for name in ("main", "train", "state", "link", "frame")]
    chip = [f"firmware/chip/{name}.c" for name in ("cortex_m7", "stm32_uart", board.chip)]
    return own + chip + sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "kernels").glob("*.c"))


def linker_script(board):
    """link.ld.in filled in with the board's memories."""
    regions = {m.name: m for m in board.regions}
    # A memory merged into its neighbour goes by the neighbour's name.
    home = {m.name: next(r for r in regions.values() if r.origin <= m.origin < r.end) for m in board.ram}
    dma = next(m for m in board.ram if m.name == board.place["dma"])
    lines = [f"    {m.name} (rwx) : ORIGIN = {m.origin:#x}, LENGTH = {m.size}" for m in regions.values()]
    return Template((ROOT / "firmware/link.ld.in").read_text()).substitute(
        board=board.id,
        flash_origin=hex(board.flash.origin),
        flash_size=board.flash.size,
        regions="\n".join(lines),
        main=board.regions[0].name,
        stack=board.stack,
        dma_end=hex(dma.end),
        dma_name=dma.name,
        **{key: home[board.place[key]].name for key in ("state", "arena", "dma")},
    )
