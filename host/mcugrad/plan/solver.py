"""Offsets that are proved best, by CP-SAT (OR-tools), the same on every machine: first of the buffers around
the peak, which decide; then of more of them, while the others do not fit around these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from mcugrad.plan.arena import ALIGN, Buffer, live_bytes, rounded, runs
from mcugrad.plan.pack import forbidden, pack, top

EFFORT = 0.5  # deterministic seconds: the same everywhere, whatever else a machine does
SHARES = (0.95, 0.8, 0.5, 0.0)  # of the peak's bytes: a moment with as many belongs to the core
SMALL = 0.005  # of the arena: a gap not worth the solver's seconds
NEAR = 1.01  # of what is proved: where placements are looked for first
TRIES = 60  # to pack the others around a core
LARGEST = 200  # buffers in a core; of more it does not prove anything in that time


@dataclass(frozen=True)
class Solved:
    """`buffers`: no higher than they were given. `least`: no placement of them needs fewer bytes."""

    buffers: list[Buffer]
    least: int


def available() -> bool:
    return find_spec("ortools") is not None


def solve(buffers: Sequence[Buffer], moments: int, effort: float = EFFORT) -> Solved:
    """Lower the top of a placement, or prove that nothing can."""
    best, live = list(buffers), live_bytes(buffers, moments)
    least = rounded(max(live, default=0))
    for share in SHARES:
        core = _core(best, live, share)
        if (1 - SMALL) * top(best) <= least or len(core) > LARGEST:
            break
        placed, least = _near(core, least, top(best), effort)
        found = pack([b for b in best if b not in core], top(placed), placed, TRIES)
        best = min(best, found, key=top)
        if top(placed) > least:  # it gave up, and would again
            break
    return Solved(best, least)


def _near(core: Sequence[Buffer], least: int, height: int, effort: float) -> tuple[list[Buffer], int]:
    """As _solve: only near what is proved, unless it is proved that nothing is there."""
    near = rounded(int(least * NEAR))
    if near >= height:
        return _solve(core, least, height, effort)
    placed, least = _solve(core, least, near, effort)
    return _solve(core, least, height, effort) if least > near else (placed, least)


def _core(buffers: Sequence[Buffer], live: Sequence[int], share: float) -> list[Buffer]:
    """Those alive where at least a share of the peak is."""
    limit = share * max(live, default=0)
    full = sum(1 << moment for moment, size in enumerate(live) if size >= limit)
    return [b for b in buffers if b.alive & full]


def _solve(core: Sequence[Buffer], least: int, height: int, effort: float) -> tuple[list[Buffer], int]:
    """The core placed, as given where nothing better is found, and what is proved of its lowest top."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    ceiling = model.new_int_var(least // ALIGN, height // ALIGN, "top")
    starts = [model.new_int_var(0, (height - b.size) // ALIGN, b.values[0]) for b in core]
    for start, b in zip(starts, core, strict=True):
        model.add(start + b.size // ALIGN <= ceiling)
        model.add_hint(start, b.offset // ALIGN)
    _apart(model, starts, core)
    _rectangles(model, starts, core)
    model.minimize(ceiling)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.catch_sigint_signal = False  # it would leave Ctrl-C to end the process at once
    solver.parameters.max_deterministic_time = effort
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return list(core), height + ALIGN
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return list(core), least
    placed = [replace(b, offset=ALIGN * solver.value(at)) for b, at in zip(core, starts, strict=True)]
    return placed, max(least, round(solver.best_objective_bound) * ALIGN)


def _apart(model: Any, starts: Sequence[Any], core: Sequence[Buffer]) -> None:
    """Of each two that live together one below the other. This finds placements."""
    for i, b in enumerate(core):
        for j, other in enumerate(core[:i]):
            meets = forbidden(b, other) if b.alive & other.alive else []
            if len(meets) == 1:
                (low, high), below = meets[0], model.new_bool_var(f"{i} below {j}")
                model.add(starts[i] <= starts[j] + low // ALIGN).only_enforce_if(below)
                model.add(starts[i] >= starts[j] + -(-high // ALIGN)).only_enforce_if(~below)


def _rectangles(model: Any, starts: Sequence[Any], core: Sequence[Buffer]) -> None:
    """The same, and for any two, as areas of time and place that do not overlap. This proves."""
    times, places = [], []
    for start, b in zip(starts, core, strict=True):
        for span in b.spans:
            low, high = span.start // ALIGN, -(-span.end // ALIGN)
            for first, last in runs(span.alive):
                times.append(model.new_fixed_size_interval_var(first, last + 1 - first, ""))
                places.append(model.new_fixed_size_interval_var(start + low, high - low, ""))
    model.add_no_overlap_2d(times, places)
