"""Figures of steps -> tables: a row a case, and a case beside a peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from mcugrad.bench.cases import Case, Peer

_PHASES = ("forward", "backward", "update", "total")
_MEMORY = ("static", "arena", "stack", "total")


def overview(cases: Sequence[Case], found: Mapping[str, Any]) -> Table:
    """Instructions of one step by phase, RAM and flash in bytes."""
    table = Table(title="one step, batch 1: instructions, cycles (estimated), bytes")
    titles = ("a MAC", "bar", "cycles", "RAM", "of it stack", "flash", "to C, s", "MIPS")
    for title in ("", *_PHASES, *titles):
        table.add_column(title, justify="right" if title else "left")
    for case in cases:
        table.add_row(case.key, *_row(case, found[case.key]))
    return table


def _row(case: Case, figures: Mapping[str, Any]) -> list[str]:
    instructions, ram, speed = figures["instructions"], figures["ram"], figures["speed"]
    total = instructions["total"]
    bar = f"{'✓' if total <= case.bar else '✗'} {case.bar / 1e6:g} M" if case.bar else ""
    bytes_ = (figures["cycles_estimated"], ram["total"], ram["stack"], figures["flash"])
    return [
        *(f"{instructions[p]:,}" for p in _PHASES),
        f"{total / figures['macs']['total']:.2f}",
        bar,
        *(f"{b:,}" for b in bytes_),
        f"{speed['model_to_c_seconds']}",
        f"{speed['emulated_mips']}",
    ]


def beside(case: Case, peer: Peer, figures: Mapping[str, Any]) -> Table:
    """A case in a column, its peer in the next."""
    table = Table("", title=f"{case.key}: one step, batch 1")
    for name in ("mcugrad", peer.name):
        table.add_column(name, justify="right")
    ours, macs = figures["instructions"], figures["macs"]["total"]
    both = ours | {"backward+update": ours["backward"] + ours["update"]}
    for phase in ("forward", "backward", "update", "backward+update", "total"):
        table.add_row(f"instructions, {phase}", *_cells(both[phase], peer.instructions.get(phase)))
    table.add_row("MACs", *_cells(macs, peer.macs))
    each = ours["total"] / macs, peer.instructions["total"] / peer.macs
    table.add_row("instructions per MAC", *(f"{x:.2f}" for x in each))
    for part in _MEMORY:
        table.add_row(f"RAM, {part}", *_cells(figures["ram"][part], peer.ram.get(part)))
    table.add_row("flash", *_cells(figures["flash"], peer.flash))
    return table


def _cells(ours: int, theirs: int | None) -> tuple[str, str]:
    return f"{ours:,}", "" if theirs is None else f"{theirs:,}"
