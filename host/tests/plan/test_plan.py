"""The planner against its checker, and the checker against broken plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcugrad import boards
from mcugrad.errors import InternalError, OutOfMemoryError
from mcugrad.ir import Builder, DType, Value
from mcugrad.ops.op import OPS
from mcugrad.pipeline import training_graph
from mcugrad.plan.check import check
from mcugrad.plan.fit import fit
from mcugrad.plan.memory import Plan, place, plan
from mcugrad.plan.peak import at_peak, live_bytes
from mcugrad.plan.report import describe
from mcugrad.plan.schedule import orders
from mcugrad.plan.stream import _Run, stream
from tests.networks import Net, small

SCHEMES = ["full", "head-only", "bias-only", "last-4", "5 3:1/2 4:1/3 6:1 9:1/4"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_candidate_order_is_sound(scheme: str) -> None:
    graph = training_graph(small(), scheme)
    for order in orders(graph):
        placed = check(graph, place(graph, order))
        assert placed.bound <= placed.arena_bytes


def test_bound_is_the_live_set_at_the_peak() -> None:
    graph = training_graph(small(), "full")
    placed = plan(graph)
    assert max(live_bytes(placed)) == placed.bound == sum(size for _, size in at_peak(graph, placed))


def broken(placed: Plan, seed: int) -> Plan:
    """One buffer moved to where it overlaps another one that is alive with it."""
    rng = np.random.default_rng(seed)
    while True:
        i, j = rng.integers(0, len(placed.buffers), 2)
        a, b = placed.buffers[i], placed.buffers[j]
        both = [(s, t) for s in a.spans for t in b.spans if s.alive & t.alive]
        meet = any(s.start < t.end and t.start < s.end for s, t in both)
        if i != j and meet and b.offset + a.size <= placed.arena_bytes:
            moved = replace(a, offset=b.offset)
            return replace(placed, buffers=(*placed.buffers[:i], moved, *placed.buffers[i + 1 :]))


@pytest.mark.parametrize("seed", range(20))
def test_checker_finds_overlaps(seed: int) -> None:
    graph = training_graph(small(), "last-6")
    with pytest.raises(InternalError):
        check(graph, broken(plan(graph), seed))


def test_checker_finds_wrong_orders() -> None:
    graph = training_graph(small(), "last-6")
    placed = plan(graph)
    update = next(i for i, n in enumerate(placed.order) if n.op == "sgd")
    early = (placed.order[update], *placed.order[:update], *placed.order[update + 1 :])
    for order in (early, placed.order[:-1], (*placed.order, placed.order[0])):
        with pytest.raises(InternalError):
            check(graph, replace(placed, order=order))


def test_checker_keeps_a_weight_until_its_last_reader() -> None:
    """The update may not come before the input gradient that reads the old weights."""
    graph = training_graph(small(), "last-6")
    placed = plan(graph)
    order = list(placed.order)
    i = next(k for k, n in enumerate(order) if n.op == "sgd" and _reader_before(order, k))
    j = _reader_before(order, i)
    order[i], order[j] = order[j], order[i]
    with pytest.raises(InternalError):
        check(graph, replace(placed, order=tuple(order)))


def _reader_before(order: list, update: int) -> int:  # type: ignore[type-arg]
    weight = order[update].ins[0]
    found = [k for k in range(update) if order[k].op.endswith("_dx") and weight in order[k].ins]
    return found[0] if found else 0


def test_only_the_first_output_takes_the_operands_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two outputs of one size would otherwise lie on each other."""
    twice = replace(OPS["clamp_dx"], name="twice", outs=OPS["clamp_dx"].outs * 2)
    monkeypatch.setitem(OPS, "twice", twice)
    b = Builder("twice")
    x = b.input("x", DType.S16, (4, 4, 2))
    outs = [Value(name, DType.S16, (4, 4, 2)) for name in ("first", "second")]
    b.node("twice", "layer", outs, [x])
    graph = b.build()
    offsets = place(graph, graph.nodes).offsets
    assert offsets["first"] == offsets["x"] != offsets["second"]


def test_a_depthwise_map_takes_the_place_of_the_one_it_is_made_of() -> None:
    """Not in a stream, where the operand's rows are still to come or to be read."""
    graph = Net((9, 9, 4), 1).block("b0", 8, 4, 3).block("b1", 8, 4, 3, 2).head(3)
    offsets = check(graph, place(graph, graph.nodes)).offsets
    assert all(offsets[f"{b}.dw.y"] == offsets[f"{b}.pw1.y"] for b in ("b0", "b1"))
    for first, last in [(0, 2), (1, 1), (3, 6)]:
        streamed = check(graph, place(graph, graph.nodes, [stream(graph, graph.nodes, first, last)]))
        inside = {n for node in graph.nodes[first : last + 1] for n in node.outs}
        assert all(len(b.values) == 1 for b in streamed.buffers if inside & set(b.values[1:]))


@pytest.mark.parametrize("board", boards.known())
def test_fit_adds_up(board: str) -> None:
    graph = training_graph(small(), "full")
    placed = plan(graph)
    space = fit(graph, placed, boards.load(board))
    assert sum(r.used for r in space.regions) == space.total
    text = describe(graph, placed, space)
    assert f"{placed.arena_bytes:,}" in text and "alive there" in text


def test_too_large_says_by_how_much_and_what() -> None:
    graph = training_graph(small(), "full")
    placed = plan(graph)
    board = boards.load("nucleo_f746zg")
    tight = replace(
        board, ram=(replace(board.ram[0], size=10_000),), place={**dict.fromkeys(board.place, "DTCM")}
    )
    with pytest.raises(OutOfMemoryError, match=r"bytes of DTCM, [\d,]+ more than") as error:
        fit(graph, placed, tight)
    assert at_peak(graph, placed)[0][0] in str(error.value)


def test_the_streams_of_one_front_are_worked_out_once() -> None:
    graphs = [training_graph(small(), scheme) for scheme in ("last-2", "last-3")]
    one, same = (stream(g, g.nodes, 0, 3) for g in graphs)
    run = _Run(graphs[0], graphs[0].nodes, 0, 3, {})
    run.call()
    assert one is same == run.stream()
    assert stream(graphs[0], graphs[0].nodes, 0, 3, {1: 2}) != one
    b = Builder.extend(graphs[0])
    b.nodes.append(replace(b.nodes[3], ins=(b.nodes[2].outs[0], *b.nodes[3].ins[1:]), outs=()))
    later = b.build()
    assert stream(later, later.nodes, 0, 3).windows != one.windows, "another reader keeps a map whole"
