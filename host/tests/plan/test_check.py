"""The checker on corrupt plans, streamed and not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import inf

import numpy as np
import pytest

from mcugrad.errors import InternalError
from mcugrad.ir import Graph
from mcugrad.pipeline import lowered, uncalibrated
from mcugrad.plan import cuts
from mcugrad.plan.arena import Buffer
from mcugrad.plan.check import check
from mcugrad.plan.memory import Plan, place, plan
from mcugrad.plan.report import restrictions
from mcugrad.plan.stream import Stream, stream
from tests.networks import Net, small

ENOUGH = 1 << 40


def streamed() -> Graph:
    """A front that is worth streaming, with a residual."""
    net = Net((33, 31, 3), 4).conv("conv0", 8, 3, 2)
    return net.block("b0", 16, 8, 3).block("b1", 24, 8, 5, 2).block("b2", 8, 8, 3).head(4)


GRAPHS = {
    "whole": lowered(uncalibrated(small(), "last-6")),
    "streamed": lowered(uncalibrated(streamed(), "head-only")),
}
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(cuts, "MOST", inf)
    PLANS = {kind: plan(graph) for kind, graph in GRAPHS.items()}
Change = Callable[[Plan, Buffer], Buffer]
CORRUPTIONS: dict[str, Change] = {
    "off a word": lambda p, b: replace(b, offset=b.offset + 2),
    "outside": lambda p, b: replace(b, offset=p.arena_bytes - b.size + 4),
    "negative": lambda p, b: replace(b, offset=-4),
    "too small": lambda p, b: replace(b, size=b.size - 4),
    "shifted inside": lambda p, b: replace(b, at=(*b.at[:-1], b.at[-1] + 4)),
    "dies early": lambda p, b: with_span(b, alive=b.spans[-1].alive & (b.spans[-1].alive - 1)),
    "lives on": lambda p, b: with_span(b, alive=b.spans[-1].alive | 1 << b.alive.bit_length()),
    "eaten": lambda p, b: with_span(b, start=b.spans[-1].start + 4),
    "cut off": lambda p, b: with_span(b, end=b.spans[-1].end - 4),
    "read later": lambda p, b: replace(b, last=b.last + 1),
    "renamed": lambda p, b: replace(b, values=(*b.values[:-1], "nobody")),
    "twice": lambda p, b: replace(b, values=(*b.values, p.buffers[0].values[0]), at=(*b.at, 0)),
}


def with_span(b: Buffer, **change: int) -> Buffer:
    return replace(b, spans=(*b.spans[:-1], replace(b.spans[-1], **change)))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("seed", range(4))
def test_a_corrupt_buffer_is_found(name: str, kind: str, seed: int) -> None:
    graph, placed = GRAPHS[kind], PLANS[kind]
    i = int(np.random.default_rng(seed).integers(1, len(placed.buffers)))
    broken = CORRUPTIONS[name](placed, placed.buffers[i])
    with pytest.raises(InternalError):
        check(graph, replace(placed, buffers=(*placed.buffers[:i], broken, *placed.buffers[i + 1 :])))


def test_the_report_says_what_each_part_needs() -> None:
    graph, placed = GRAPHS["streamed"], PLANS["streamed"]
    front, behind = restrictions(graph, placed)
    streamed, whole, lowest = (int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", front))
    assert max(lowest, streamed) < whole
    assert max(streamed, int(behind.split()[-1].replace(",", ""))) == placed.bound
    assert len(restrictions(GRAPHS["whole"], PLANS["whole"])) == 2


def test_every_extent_of_a_streams_maps_is_checked() -> None:
    """A word less or more of any of them, at any of its moments."""
    graph, placed = GRAPHS["streamed"], PLANS["streamed"]
    found = 0
    for i, b in enumerate(placed.buffers):
        for k, span in enumerate(b.spans if len(b.spans) > 1 else ()):
            for change in ({"start": span.start + 4}, {"end": span.end + 4}, {"end": span.end - 4}):
                spans = (*b.spans[:k], replace(span, **change), *b.spans[k + 1 :])
                wrong = (*placed.buffers[:i], replace(b, spans=spans), *placed.buffers[i + 1 :])
                with pytest.raises(InternalError):
                    check(graph, replace(placed, buffers=wrong))
                found += 1
    assert found > 50


def test_an_output_grows_and_an_operand_shrinks_row_by_row() -> None:
    graph, order = GRAPHS["streamed"], PLANS["streamed"].order
    one, other = stream(graph, order, 0, 3), stream(graph, order, 4, 7)
    placed = check(graph, place(graph, order, [one, other]))
    name = next(n for n in one.held if n in other.held and n not in one.windows)
    assert [(start, end) for _, start, end in one.held[name]] == _rows(one, placed, name)
    starts = [start for _, start, end in other.held[name] if start < end]
    assert starts == sorted(starts) and starts[0] == 0 and starts[-1] > 0
    assert max(end for _, _, end in other.held[name]) == graph.value(name).shape[0]


def _rows(s: Stream, p: Plan, name: str) -> list[tuple[int, int]]:
    """After each call that makes some."""
    steps = [step for step in s.steps if step.node >= 0 and name in p.order[step.node].outs]
    return [(0, step.to + step.rows) for step in steps]


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize(
    "change", [{"bound": 4}, {"least": ENOUGH}, {"floor": ENOUGH}, {"buffers": ()}, {"arena_bytes": 64}]
)
def test_a_wrong_figure_is_found(kind: str, change: dict[str, object]) -> None:
    broken: Plan = replace(PLANS[kind], **change)  # type: ignore[arg-type]
    with pytest.raises(InternalError):
        check(GRAPHS[kind], broken)


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("seed", range(20))
def test_buffers_that_meet_are_found(kind: str, seed: int) -> None:
    """One is moved by a word, to where it shares a byte with another at some moment."""
    graph, placed, rng = GRAPHS[kind], PLANS[kind], np.random.default_rng(seed)
    for i in rng.permutation(len(placed.buffers)):
        b = placed.buffers[i]
        moved = [
            replace(b, offset=at)
            for at in (b.offset - 4, b.offset + 4)
            if 0 <= at <= placed.arena_bytes - b.size
        ]
        for other in (m for m in moved if _meets(m, placed.buffers)):
            buffers = (*placed.buffers[:i], other, *placed.buffers[i + 1 :])
            with pytest.raises(InternalError):
                check(graph, replace(placed, buffers=buffers))
            return
    pytest.fail("nothing can be moved")


def _meets(b: Buffer, others: tuple[Buffer, ...]) -> bool:
    for o in (o for o in others if o.values != b.values):
        for s, t in product(b.spans, o.spans):
            apart = b.offset + s.end <= o.offset + t.start or o.offset + t.end <= b.offset + s.start
            if s.alive & t.alive and not apart:
                return True
    return False


def test_the_plans_stream_as_they_say() -> None:
    assert PLANS["streamed"].streams and PLANS["streamed"].feeds
    assert not PLANS["whole"].streams
