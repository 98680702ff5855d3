"""boards/<id>.json -> Board: memories, UART and probe. Standard library only: any builder may ask."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mcugrad.errors import UsageError, UserError
from mcugrad.paths import BOARDS

RESERVE = 2048  # of the first region and of the DMA's: firmware, link ring, time stamps, alignment


@dataclass(frozen=True)
class Memory:
    """Addresses origin .. end - 1. `dma`: the UART's DMA reaches it. `cached`: the data cache covers it."""

    name: str
    origin: int
    size: int
    dma: bool = False
    cached: bool = False

    @property
    def end(self) -> int:
        return self.origin + self.size


@dataclass(frozen=True)
class Uart:
    """The USART that the debug probe forwards, and its pins."""

    name: str
    base: int
    tx: str
    rx: str


@dataclass(frozen=True)
class Probe:
    """openocd's scripts and transport for the probe on the board."""

    interface: str
    target: str
    transport: str


@dataclass(frozen=True)
class Board:
    """What anyone asks of a board. Sizes in bytes; `place` names the RAM of dma, and may that of a part."""

    id: str
    name: str
    mcu: str
    chip: str
    fpu: str
    cpu_hz: int
    baud: int
    stack: int
    uart: Uart
    flash: Memory
    flash_sectors: tuple[int, ...]
    ram: tuple[Memory, ...]
    place: Mapping[str, str]
    openocd: Probe
    usb: tuple[tuple[int, int], ...] = ()
    """(vendor, product) of what the host sees of it on USB."""

    @property
    def ram_bytes(self) -> int:
        return sum(m.size for m in self.ram)

    @property
    def regions(self) -> tuple[Memory, ...]:
        """RAM as the linker sees it: memories without a gap between them are one, called RAM."""
        merged: list[Memory] = []
        for memory in sorted(self.ram, key=lambda m: m.origin):
            if merged and merged[-1].end == memory.origin:
                last = merged[-1]
                merged[-1] = Memory("RAM", last.origin, last.size + memory.size, last.dma, last.cached)
            else:
                merged.append(memory)
        return tuple(merged)

    def region(self, memory: str) -> Memory:
        """The region that a memory is, or is a part of."""
        origin = next(m.origin for m in self.ram if m.name == memory)
        return next(r for r in self.regions if r.origin <= origin < r.end)

    def homes(self, sizes: Mapping[str, int]) -> dict[str, Memory]:
        """The region of each part (name -> bytes, the hottest first): the first, and fastest, with room.

        `place` goes before. A part for which none has room gets the one with most.
        """
        room = {r.name: r.size for r in self.regions}
        room[self.regions[0].name] -= self.stack + RESERVE
        room[self.region(self.place["dma"]).name] -= RESERVE
        homes = {}
        for part, size in sizes.items():
            fitting = [r for r in self.regions if room[r.name] >= size]
            most = max(self.regions, key=lambda r: room[r.name])
            named = self.place.get(part)
            homes[part] = self.region(named) if named else (fitting or [most])[0]
            room[homes[part].name] -= size
        return homes


def known() -> list[str]:
    """Ids of the boards in boards/, sorted."""
    return sorted(path.stem for path in BOARDS.glob("*.json"))


@cache
def usb_ids() -> frozenset[tuple[int, int]]:
    """(vendor, product) of all boards in boards/."""
    return frozenset(pair for board in known() for pair in load(board).usb)


@cache
def load(board: str) -> Board:
    """One board by its id; UsageError names the known ones, UserError a key that its file lacks."""
    path = BOARDS / f"{board}.json"
    if board not in known():
        raise UsageError(f"no board is called {board!r}", str(BOARDS), f"use one of: {', '.join(known())}")
    try:
        return _parse(board, json.loads(path.read_text()))
    except KeyError as missing:
        raise UserError(
            f"the board file lacks {missing}", str(path), "copy the key from another board"
        ) from None


def _parse(board: str, manifest: Mapping[str, Any]) -> Board:
    ours = manifest["mcugrad"]
    uart = {**ours["uart"], "base": int(ours["uart"]["base"], 16)}
    ram = tuple(_memory(**region) for region in ours["ram"])
    return Board(
        id=board,
        name=manifest["name"],
        mcu=manifest["build"]["mcu"],
        uart=Uart(**uart),
        flash=_memory("FLASH", **ours["flash"]),
        flash_sectors=tuple(s["size"] for s in ours["flash_sectors"] for _ in range(s["count"])),
        ram=ram,
        place={"dma": ram[0].name, **ours["place"]},
        openocd=Probe(**ours["openocd"]),
        usb=tuple((int(v, 16), int(p, 16)) for v, p in manifest["build"]["hwids"]),
        **{key: ours[key] for key in ("chip", "fpu", "cpu_hz", "baud", "stack")},
    )


def _memory(name: str, origin: str, size: int, dma: bool = False, cached: bool = False) -> Memory:
    return Memory(name, int(origin, 16), size, dma, cached)


def header(board: str) -> Path:
    """The C header with the board's pins."""
    return BOARDS / f"{board}.h"
