"""Does the planned image fit the board's RAM? Known to the byte before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcugrad.boards import Board, Memory
from mcugrad.errors import OutOfMemoryError
from mcugrad.ir import Graph
from mcugrad.plan.arena import rounded
from mcugrad.plan.memory import Plan
from mcugrad.plan.peak import at_peak, state_bytes

# RAM of the firmware itself, without the link's DMA ring; a test compares both with the ELF of every board.
FIRMWARE = {"stm32f7": 412, "stm32h7": 412}
FEED = 8  # and of a first stream that takes the sample by rows
RING = 640
MARK = 2  # bytes that a node's cycles take


@dataclass(frozen=True)
class Region:
    """One RAM as the linker sees it, and what lies in it: part -> bytes."""

    memory: Memory
    parts: Mapping[str, int]

    @property
    def used(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Fit:
    """The whole RAM, planned. statics = everything but arena and stack."""

    regions: tuple[Region, ...]
    statics: int
    arena: int
    stack: int

    @property
    def total(self) -> int:
        return self.statics + self.arena + self.stack

    @property
    def memory(self) -> list[dict[str, Any]]:
        """Name, size and parts of every region, for reports."""
        return [{"name": r.memory.name, "size": r.memory.size, "parts": dict(r.parts)} for r in self.regions]


def fit(graph: Graph, plan: Plan, board: Board) -> Fit:
    """Lay the parts into the board's regions; OutOfMemoryError says by how much, and what is alive."""
    laid = lay(graph, plan, board)
    for region in laid.regions:
        if region.used > region.memory.size:
            raise _too_large(graph, plan, board, region)
    return laid


def lay(graph: Graph, plan: Plan, board: Board) -> Fit:
    """The same without the check."""
    state = state_bytes(graph)
    marks = rounded(MARK * len(plan.order))
    firmware = FIRMWARE[board.chip] + (FEED if plan.feeds else 0)
    main, homes = board.regions[0], board.homes({"arena": plan.arena_bytes, "state": state})
    parts = [
        ("stack", board.stack, main),
        ("firmware", firmware, main),
        ("link ring", RING, board.region(board.place["dma"])),
        ("cycles of nodes", marks, main),
        ("trained state", state, homes["state"]),
        ("arena", plan.arena_bytes, homes["arena"]),
    ]
    regions = (Region(m, {name: size for name, size, home in parts if home == m}) for m in board.regions)
    return Fit(tuple(regions), firmware + RING + marks + state, plan.arena_bytes, board.stack)


def _too_large(graph: Graph, plan: Plan, board: Board, region: Region) -> OutOfMemoryError:
    over = region.used - region.memory.size
    parts = ", ".join(f"{name} {size:,}" for name, size in region.parts.items())
    live = "; ".join(f"{name} {size:,}" for name, size in at_peak(graph, plan)[:5])
    return OutOfMemoryError(
        f"{graph.name} needs {region.used:,} bytes of {region.memory.name}, "
        f"{over:,} more than {board.name} has",
        f"{parts}; alive at the peak: {live}",
        "choose a smaller scheme (mcugrad plan --scheme ...), a smaller model or a larger board",
    )
