"""Less alive at the peak for a few instructions more: operands of tiles made again out of what a residual
keeps alive anyway, and kernels with less scratch than they are fast with."""

from __future__ import annotations

from mcugrad.ir import Graph, Node
from mcugrad.passes.rematerialise import rematerialise
from mcugrad.passes.scratch import tightened
from mcugrad.plan.memory import Plan, harder, lowest, plan
from mcugrad.plan.tiles import chain

WORTH = 0.03  # of the most bytes alive: a lower arena has less room for all other scratch too
ENOUGH = 1.01  # of the most bytes alive: a plan that needs more is placed with more effort


def planned(graph: Graph, exact: bool = True) -> tuple[Graph, Plan]:
    """A graph and its plan: the same step, as long as that lowers the peak with one operand more that is made
    again, or with less scratch. exact: see memory.plan; the graph, which the model's hash names, is the same
    without OR-tools."""
    graph = _tightened(*_made_again(graph))
    found = plan(graph, exact)
    return graph, harder(graph, found) if exact and found.arena_bytes > ENOUGH * found.bound else found


def _made_again(graph: Graph) -> tuple[Graph, Plan]:
    best = lowest(graph)
    while node := _at_peak(graph, best):
        again = rematerialise(graph, chain(graph, node), node)
        other = lowest(again)
        if other.bound >= best.bound:
            break
        graph, best = again, other
    return graph, best


def _at_peak(graph: Graph, p: Plan) -> Node | None:
    """The projection of the tiles at the peak, if its operand is whole but need not be."""
    moment = p.live.index(max(p.live, default=0)) if p.live else 0
    tiles = (t for t in p.tiles if p.timeline.begins[t.first] == moment and not t.head)
    return next((p.order[t.first] for t in tiles if chain(graph, p.order[t.first])), None)


def _tightened(graph: Graph, p: Plan) -> Graph:
    """With less scratch for those that lie at the peak, one after the other."""
    best, least = graph, p.bound
    while less := tightened(graph, _working(p)):
        graph, p = less, lowest(less)
        if p.bound <= (1 - WORTH) * least:
            best, least = graph, p.bound
        elif p.bound > least:
            break
    return best


def _working(p: Plan) -> list[Node]:
    """The nodes whose scratch is alive at the peak."""
    moment = p.live.index(max(p.live, default=0)) if p.live else 0
    alive = {name for b in p.buffers if b.alive >> moment & 1 for name in b.values}
    return [node for node in p.order if node.work in alive]
