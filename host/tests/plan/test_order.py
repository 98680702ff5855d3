"""The order search on random graphs against brute force."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mcugrad.ir import DType, Graph, Node, Value
from mcugrad.plan.arena import live_bytes
from mcugrad.plan.check import check
from mcugrad.plan.memory import Lifetimes, place, plan
from mcugrad.plan.order import search
from mcugrad.plan.schedule import Order, dependencies, orders
from mcugrad.plan.timeline import Timeline

ENOUGH = 1 << 40


def random_graph(seed: int, nodes: int = 8) -> Graph:
    """Backward nodes that read one to three earlier values, some in place; sizes off the word."""
    rng = np.random.default_rng(seed)
    values = [Value("x", DType.S8, (int(rng.integers(2, 40)),))]
    made: list[Node] = []
    for i in range(nodes):
        count = min(len(values), int(rng.integers(1, 4)))
        ins = [values[k] for k in rng.choice(len(values), count, replace=False)]
        op = "sum_dx" if rng.random() < 0.4 else "quantise_dx"
        same = ins[0].size if op == "sum_dx" and rng.random() < 0.7 else int(rng.integers(2, 40))
        values.append(Value(f"v{i}", DType.S8, (same,)))
        made.append(Node(op, f"n{i}", (f"v{i}",), tuple(v.name for v in ins)))
    return Graph("random", (values[0],), {}, tuple(made), {v.name: v for v in values}, {})


def every_order(graph: Graph) -> Iterator[Order]:
    before = dependencies(graph)

    def go(done: tuple[int, ...]) -> Iterator[Order]:
        if len(done) == len(before):
            yield tuple(graph.nodes[i] for i in done)
        for i in range(len(before)):
            if i not in done and before[i] <= set(done):
                yield from go((*done, i))

    return go(())


def peak(graph: Graph, order: Order) -> int:
    buffers = Lifetimes(graph, order, (), (), Timeline.of(len(order))).buffers()
    return max(live_bytes(buffers, len(order)))


@pytest.mark.parametrize("seed", range(30))
def test_the_search_finds_what_brute_force_finds(seed: int) -> None:
    graph = random_graph(seed, 7)
    found = search(graph, ENOUGH)
    assert found.order
    assert found.floor == peak(graph, found.order) == min(peak(graph, o) for o in every_order(graph))


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_are_planned_and_proved(seed: int) -> None:
    graph = random_graph(seed, 60)
    placed = check(graph, plan(graph))
    assert placed.floor <= placed.bound <= placed.arena_bytes
    assert placed.floor <= min(peak(graph, order) for order in orders(graph))


def test_a_search_that_gives_up_has_proved_its_floor() -> None:
    graph = random_graph(3, 60)
    whole, cut = search(graph, ENOUGH), search(graph, ENOUGH, states=3)
    assert cut.order is None and 0 < cut.floor <= whole.floor


@pytest.mark.parametrize("seed", range(10))
def test_every_order_of_a_random_graph_is_placed_soundly(seed: int) -> None:
    graph = random_graph(seed, 6)
    for order in every_order(graph):
        check(graph, place(graph, order))
