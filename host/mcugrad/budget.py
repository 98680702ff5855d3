"""Does it fit so many bytes of RAM, and which schemes do? The plan answers before anything is compiled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Unpack

from rich.table import Table

from mcugrad import pipeline
from mcugrad.boards import Board
from mcugrad.errors import OutOfMemoryError, UsageError, UserError
from mcugrad.ir import Graph
from mcugrad.passes.schemes import SCHEMES
from mcugrad.pipeline import Choices
from mcugrad.plan import again
from mcugrad.plan.check import check
from mcugrad.plan.fit import Fit, lay
from mcugrad.plan.memory import Plan
from mcugrad.plan.peak import why

UNITS = {"": 1, "b": 1, "k": 1024, "kb": 1024, "kib": 1024, "m": 1 << 20, "mb": 1 << 20, "mib": 1 << 20}


@dataclass(frozen=True)
class Planned:
    """One scheme on one board, not compiled."""

    scheme: str
    graph: Graph
    plan: Plan
    fit: Fit


def parse(text: str) -> int:
    """'96KB' -> 98304 bytes; a KB is 1024. UsageError for what is no size."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*([kmib]*)\s*", text.lower())
    if not match or match[2] not in UNITS:
        raise UsageError(f"'{text}' is no size", "--budget", "write 96KB, or bytes as 98304")
    return int(match[1]) * UNITS[match[2]]


def planned(forward: Graph, scheme: str, board: Board, **choices: Unpack[Choices]) -> Planned:
    """Planned and proved; whether it fits the board is for others to ask. UserError for a bad scheme."""
    graph = pipeline.lowered(pipeline.uncalibrated(forward, scheme, **choices))
    graph, placed = again.planned(graph)
    check(graph, placed)
    return Planned(scheme, graph, placed, lay(graph, placed, board))


def schemes(forward: Graph, asked: str) -> list[str]:
    """The model's own, those that every model has, and the one asked for."""
    every = [*SCHEMES.get(forward.name, {}), "head-only", "bias-only", "last-3", "last-6", "full"]
    return list(dict.fromkeys([asked, *every]))


def survey(forward: Graph, asked: Planned, board: Board, **choices: Unpack[Choices]) -> list[Planned]:
    """All schemes of the model, the one that needs least first; without those it has too few layers for."""
    found = [asked]
    for scheme in schemes(forward, asked.scheme)[1:]:
        try:
            found.append(planned(forward, scheme, board, **choices))
        except UserError:
            continue
    return sorted(found, key=lambda p: p.fit.total)


def table(found: list[Planned], asked: str, budget: int) -> Table:
    """Whole RAM of each scheme beside the budget."""
    shown = Table(title=f"{found[0].graph.name}: whole RAM against {budget:,} bytes")
    for column in ("scheme", "statics", "arena", "stack", "RAM", "left", "fits"):
        shown.add_column(column, justify="left" if column in ("scheme", "fits") else "right")
    for p in found:
        sizes = (p.fit.statics, p.fit.arena, p.fit.stack, p.fit.total, budget - p.fit.total)
        sign = "[green]yes[/]" if p.fit.total <= budget else "[red]no[/]"
        name = f"[bold]{p.scheme}[/]" if p.scheme == asked else p.scheme
        shown.add_row(name, *(f"{n:,}" for n in sizes), sign)
    return shown


def refuse(asked: Planned, found: list[Planned], budget: int) -> None:
    """OutOfMemoryError where the scheme asked for needs more than the budget."""
    fit = asked.fit
    if fit.total <= budget:
        return
    largest = why(asked.graph, asked.plan)[0]
    fitting = [p.scheme for p in found if p.fit.total <= budget]
    raise OutOfMemoryError(
        f"scheme {asked.scheme} needs {fit.total:,} bytes, {fit.total - budget:,} more than {budget:,}",
        f"statics {fit.statics:,}, arena {fit.arena:,}, stack {fit.stack:,}; "
        f"largest at the peak: {largest.name} {largest.size:,} ({largest.kind})",
        f"{largest.hint}; schemes that fit: {', '.join(fitting) or 'none'}",
    )
