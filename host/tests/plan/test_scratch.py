"""Scratch memory: the least that a kernel needs, and more where there is a gap, at no cost in bytes."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from mcugrad import ops
from mcugrad.errors import InternalError
from mcugrad.ir import Graph
from mcugrad.pipeline import lowered, uncalibrated
from mcugrad.plan import cuts
from mcugrad.plan.again import planned as best
from mcugrad.plan.check import check
from mcugrad.plan.memory import Plan, plan
from mcugrad.plan.scratch import grown
from tests.networks import Net, small


def streamed() -> Graph:
    net = Net((33, 31, 3), 4).conv("conv0", 8, 3, 2)
    return net.block("b0", 16, 8, 3).block("b1", 24, 8, 5, 2).block("b2", 8, 8, 3).head(4)


@pytest.fixture(params=["whole", "streamed"])
def planned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Graph, Plan]:
    monkeypatch.setattr(cuts, "MOST", inf)
    forward, scheme = (small(), "last-6") if request.param == "whole" else (streamed(), "head-only")
    graph = lowered(uncalibrated(forward, scheme))
    return graph, plan(graph)


def test_gaps_are_used_and_nothing_grows(planned: tuple[Graph, Plan]) -> None:
    graph, least = planned
    most = check(graph, grown(graph, least))
    assert (most.arena_bytes, most.bound, max(most.live)) == (least.arena_bytes, least.bound, least.bound)
    sizes = {n.work: (graph.value(n.work).size, most.scratch(graph, n)) for n in graph.nodes if n.work}
    assert sizes and all(before <= after for before, after in sizes.values())
    assert any(before < after for before, after in sizes.values())


def test_no_kernel_is_given_more_than_it_can_use(planned: tuple[Graph, Plan]) -> None:
    graph, least = planned
    most = grown(graph, least)
    for node in (n for n in graph.nodes if n.work):
        work = ops.get(node.op).work
        assert work
        wanted = work([graph.value(n) for n in node.ins], node.attrs)
        assert graph.value(node.work).size == wanted.least <= most.scratch(graph, node) <= wanted.most


def test_the_checker_finds_scratch_that_is_too_small_or_not_free(planned: tuple[Graph, Plan]) -> None:
    graph, least = planned
    most = grown(graph, least)
    name = next(n for n, words in most.words.items() if words > graph.value(n).size)
    for words in (graph.value(name).size - 1, most.arena_bytes // 4):
        with pytest.raises(InternalError):
            check(graph, replace(most, words=most.words | {name: words}))


def test_a_kernel_at_the_peak_makes_do_with_less() -> None:
    """Only there, and not where another peak is as high."""
    graph = lowered(
        uncalibrated(Net((8, 8, 3), 4).conv("conv0", 8, 3, 2).block("b0", 384, 8, 3).head(4), "last-1")
    )
    tight, placed = best(graph)
    (name,) = (n.work for n in graph.nodes if n.work and tight.value(n.work) != graph.value(n.work))
    assert name.startswith("b0.pw2.conv2d")
    assert placed.bound <= 0.95 * plan(graph).bound
    same, _ = best(lowered(uncalibrated(small(), "last-6")))
    assert same.values == lowered(uncalibrated(small(), "last-6")).values
