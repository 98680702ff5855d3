"""Less alive at the peak for a few instructions more: operands of tiles made again out of what a residual
keeps alive anyway, and kernels with less scratch than they are fast with."""

from __future__ import annotations

from mcugrad.ir import Graph, Node
from mcugrad.passes.rematerialise import rematerialise
from mcugrad.passes.scratch import tightened
from mcugrad.plan.memory import Plan, plan
from mcugrad.plan.tiles import chain

WORTH = 0.005  # of the most bytes alive


def planned(graph: Graph, exact: bool = True) -> tuple[Graph, Plan]:
    """The graph and its plan or, as long as that lowers the arena, those of the same step with one operand
    more that is made again, or with less scratch. exact: see memory.plan."""
    best = plan(graph, exact)
    while node := _at_peak(graph, best):
        again = rematerialise(graph, chain(graph, node), node)
        other = plan(again, exact)
        if other.arena_bytes >= best.arena_bytes:
            break
        graph, best = again, other
    tight = _tightened(graph)
    return (graph, best) if tight is graph else (tight, plan(tight, exact))


def _at_peak(graph: Graph, p: Plan) -> Node | None:
    """The projection of the tiles at the peak, if its operand is whole but need not be."""
    moment = p.live.index(max(p.live, default=0)) if p.live else 0
    tiles = (t for t in p.tiles if p.timeline.begins[t.first] == moment and not t.head)
    return next((p.order[t.first] for t in tiles if chain(graph, p.order[t.first])), None)


def _tightened(graph: Graph) -> Graph:
    """With less scratch for those that lie at the peak, one after the other. The same without OR-tools, as
    the model's hash names the scratch."""
    p = plan(graph, exact=False)
    best, least = graph, p.bound
    while less := tightened(graph, _working(p)):
        graph, p = less, plan(less, exact=False)
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
