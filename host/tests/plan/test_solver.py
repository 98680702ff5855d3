"""Packing and the solver on random lifetimes, windows among them: apart, proved, the same each time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcugrad.pipeline import uncalibrated
from mcugrad.plan import memory, solver
from mcugrad.plan.arena import Buffer, Span, live_bytes
from mcugrad.plan.check import check
from mcugrad.plan.memory import plan
from mcugrad.plan.pack import pack, top
from mcugrad.plan.report import proof
from tests.networks import small

MOMENTS = 40
HOST = Path(__file__).parents[2]


def random_buffers(seed: int, count: int = 25, parts: int = 4) -> list[Buffer]:
    """Some live with breaks, as windows do; in some the bytes in use change, as where a stream eats them."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        first, size = int(rng.integers(0, 30)), int(rng.integers(4, 200))
        spans = []
        for _ in range(int(rng.integers(1, parts))):
            last = first + int(rng.geometric(0.3))
            start, end = sorted(rng.integers(0, size + 1, 2).tolist()) if spans else (0, size)
            if end > start and last < MOMENTS:
                spans.append(Span((1 << last) - (1 << first), 4 * start, 4 * end))
            first = last + int(rng.integers(0, 2))
        found += [_buffer(f"v{i}", spans)] if spans else []
    return found


def _buffer(name: str, spans: list[Span]) -> Buffer:
    moments = [m for m in range(MOMENTS) if any(s.alive >> m & 1 for s in spans)]
    return Buffer(0, max(s.end for s in spans), moments[0], moments[-1], (name,), (0,), tuple(spans))


def at(b: Buffer, offset: int) -> Buffer:
    return replace(b, offset=offset)


def assert_apart(buffers: list[Buffer]) -> None:
    """No byte at any moment in two buffers, counted one by one."""
    for moment in range(MOMENTS):
        used = np.zeros(top(buffers), bool)
        for b in buffers:
            for span in (s for s in b.spans if s.alive >> moment & 1):
                place = slice(b.offset + span.start, b.offset + span.end)
                assert b.offset >= 0 and not used[place].any()
                used[place] = True


@pytest.mark.parametrize("seed", range(30))
def test_packing_never_overlaps_and_the_solver_is_no_worse(seed: int) -> None:
    pytest.importorskip("ortools")
    buffers = random_buffers(seed)
    bound = max(live_bytes(buffers, MOMENTS))
    greedy = pack(buffers, bound)
    assert_apart(greedy)
    solved = solver.solve(greedy, MOMENTS)
    assert_apart(solved.buffers)
    assert {b.values for b in solved.buffers} == {b.values for b in buffers}
    assert bound <= solved.least <= top(solved.buffers) <= top(greedy)
    assert solved == solver.solve(greedy, MOMENTS)


@pytest.mark.parametrize("seed", range(6))
def test_what_the_solver_proves_is_what_every_offset_shows(seed: int) -> None:
    """Seven buffers: all ways to stack them, by brute force."""
    pytest.importorskip("ortools")
    buffers = random_buffers(seed, 7, 2)
    stacked = [at(b, sum(o.size for o in buffers[:i])) for i, b in enumerate(buffers)]
    best = min(_every(buffers, []))
    solved = solver.solve(stacked, MOMENTS, 5.0)
    assert solved.least == top(solved.buffers) == best


def test_ctrl_c_still_belongs_to_the_caller() -> None:
    """The solver's own handler would be followed by the system's, which ends the process without a word."""
    pytest.importorskip("ortools")
    code = (
        "import os, signal; from mcugrad.plan import solver; from tests.plan.test_solver import *\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
        "solver.solve([at(b, 4096 * i) for i, b in enumerate(random_buffers(1, 7, 2))], MOMENTS)\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "except KeyboardInterrupt:\n    print('caught')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HOST, capture_output=True, text=True, timeout=60)
    assert done.stdout == "caught\n", done.stderr


def _every(left: list[Buffer], placed: list[Buffer]) -> list[int]:
    """Tops of all placements in which each buffer lies at the lowest place above those before it."""
    found = [] if left else [top(placed)]
    for b in left:
        low = max((o.offset + o.size for o in placed if o.alive & b.alive), default=0)
        found += _every([o for o in left if o is not b], [*placed, at(b, low)])
    return found


def test_without_or_tools_the_order_is_the_same_and_the_report_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ortools")
    graph = uncalibrated(small(), "full")
    monkeypatch.setattr(memory, "pack", lambda buffers, bound: stacked(buffers))
    exact = check(graph, plan(graph))
    monkeypatch.setattr(solver, "available", lambda: False)
    greedy = check(graph, plan(graph))
    assert greedy.order == exact.order and exact.arena_bytes < greedy.arena_bytes
    assert "OR-tools" in proof(greedy) and "OR-tools" not in proof(exact)


def stacked(buffers: list[Buffer]) -> list[Buffer]:
    return [at(b, sum(o.size for o in buffers[:i])) for i, b in enumerate(buffers)]
