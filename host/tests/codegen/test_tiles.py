"""Channel tiles: every block by every width, in poison, equal to the reference that knows no tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, hostmodel, ops
from mcugrad.config import Update
from mcugrad.errors import InternalError
from mcugrad.ir import Graph, Node
from mcugrad.passes.rematerialise import rematerialise
from mcugrad.pipeline import Compiled, compile_model, lowered, training_graph, uncalibrated
from mcugrad.plan.again import planned as best
from mcugrad.plan.check import check
from mcugrad.plan.front import leading
from mcugrad.plan.memory import Plan, place
from mcugrad.plan.order import least
from mcugrad.plan.schedule import dependencies
from mcugrad.plan.tiles import Block, blocks, chain, narrowest, together
from tests.codegen.test_equality import F746
from tests.codegen.test_random_graphs import (
    UPDATES,
    assert_equal_in_poison,
    of_the_chip,
    planned,
    with_red_zones,
)
from tests.networks import Net

SCHEME = "12 4:1/4 7:1/2 10:1"  # biases of the last twelve, and of each expansion some weights


def network(seed: int = 0) -> Graph:
    """Residuals, a stride 2, odd maps, tiles of 8, 16, 24 and 48."""
    net = Net((14, 10, 3), seed).conv("conv0", 8, 3, 2).block("b0", 16, 8, 3)
    return net.block("b1", 24, 8, 5, 2).block("b2", 48, 8, 7).block("b3", 16, 12, 3).head(5)


def compiled_for(update: Update) -> Compiled:
    """The step before the planner chooses to make anything again."""
    compiled = compile_model(network(), SCHEME, boards.load(F746), update=update)
    return replace(compiled, graph=lowered(training_graph(network(), SCHEME, update=update)))


def tiled(graph: Graph, width: int) -> Plan:
    """Every block by its width that is nearest."""
    order, chosen = graph.nodes, list[Block]()
    for block in blocks(graph):
        moved = together(graph, order, block)
        assert moved
        order, chosen = moved, [*chosen, block]
    tiles = [b.at(order, min(b.widths, key=lambda n: abs(n - width))) for b in chosen]
    return place(graph, order, (), tiles)


def projections(graph: Graph) -> Iterator[Node]:
    yield from (b.nodes[len(b.head)] for b in blocks(graph))


def made_again(compiled: Compiled) -> Compiled:
    """Every operand of a projection made a second time, where it can be."""
    graph = compiled.graph
    for i in range(len(blocks(graph))):
        node = list(projections(graph))[i]
        graph = rematerialise(graph, chain(graph, node), node) if chain(graph, node) else graph
    return replace(compiled, graph=graph)


@pytest.mark.parametrize("chip", [False, True], ids=["portable", "chip"])
@pytest.mark.parametrize("width", [8, 16, 24, 48])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("again", [False, True], ids=["kept", "again"])
def test_tiles_change_no_bit(
    update: Update, width: int, again: bool, chip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chip:
        monkeypatch.setattr(hostmodel, "build_object", of_the_chip)
    compiled = compiled_for(update)
    compiled = made_again(compiled) if again else compiled
    plan = tiled(compiled.graph, width)
    assert len(plan.tiles) >= 3 and any(t.sums for t in plan.tiles)
    assert any(t.head for t in plan.tiles) == again
    assert_equal_in_poison(planned(compiled, plan), tmp_path / "packed")
    assert_equal_in_poison(planned(compiled, with_red_zones(plan)), tmp_path / "apart")


def test_the_planner_tiles_what_is_at_the_peak() -> None:
    net = Net((8, 8, 3), 0).conv("conv0", 8, 3).block("b0", 64, 8, 3).block("b1", 96, 8, 3).head(5)
    graph, plan = best(lowered(uncalibrated(net, "bias-only")), exact=False)
    assert plan.tiles and plan.arena_bytes < place(graph, plan.order, plan.streams).arena_bytes


def test_the_checker_counts_tiles_itself() -> None:
    compiled = compiled_for("int8")
    plan = tiled(compiled.graph, 16)
    check(compiled.graph, plan)
    for i, t in enumerate(plan.tiles):
        wider = replace(t, width=2 * t.width)
        with pytest.raises(InternalError):
            check(compiled.graph, replace(plan, tiles=(*plan.tiles[:i], wider, *plan.tiles[i + 1 :])))


def test_a_block_goes_from_a_projection_to_an_expansion() -> None:
    graph = compiled_for("8.8").graph
    for block in blocks(graph):
        assert block.nodes[0].op == "conv2d_dx" and all(n % 8 == 0 for n in block.widths)
        assert not block.sums or block.sums in {n for node in block.nodes for n in node.outs}


def random_plan(graph: Graph, rng: np.random.Generator) -> Plan:
    """Any order, any blocks by tiles of any width."""
    before, forward = dependencies(graph), sum(ops.get(n.op).phase == "forward" for n in graph.nodes)
    done = list(range(forward))
    while len(done) < len(graph.nodes):
        done.append(
            int(rng.choice([i for i in range(len(before)) if i not in done and before[i] <= set(done)]))
        )
    order, chosen = tuple(graph.nodes[i] for i in done), list[Block]()
    for block in (b for b in blocks(graph) if rng.random() < 0.6):
        if moved := together(graph, order, block):
            order, chosen = moved, [*chosen, block]
    return place(graph, order, (), [b.at(order, int(rng.choice(b.widths))) for b in chosen])


@pytest.mark.parametrize("seed", range(12))
def test_neither_order_nor_tiles_go_below_the_floor(seed: int) -> None:
    graph = lowered(uncalibrated(network(seed), SCHEME, update=UPDATES[seed % 3]))
    rng, front = np.random.default_rng(seed), leading(graph, graph.nodes)
    floor = least(graph, front, narrowest(graph))
    found = [check(graph, random_plan(graph, rng)) for _ in range(4)]
    assert sum(len(p.tiles) for p in found) and 0 < floor <= min(max(p.live[front:]) for p in found)
    with pytest.raises(InternalError):
        check(graph, replace(found[0], floor=max(found[0].live[front:]) + 4))
