"""Keep or make again: the operands of tiles at the peak, out of what a residual keeps alive anyway."""

from __future__ import annotations

from mcugrad.ir import Graph, Node
from mcugrad.passes.rematerialise import rematerialise
from mcugrad.plan.memory import Plan, plan
from mcugrad.plan.tiles import chain


def planned(graph: Graph, exact: bool = True) -> tuple[Graph, Plan]:
    """The graph and its plan or, as long as that lowers the arena, those of the same step with one operand
    more that is made again. exact: see memory.plan."""
    best = plan(graph, exact)
    while node := _at_peak(graph, best):
        again = rematerialise(graph, chain(graph, node), node)
        other = plan(again, exact)
        if other.arena_bytes >= best.arena_bytes:
            break
        graph, best = again, other
    return graph, best


def _at_peak(graph: Graph, p: Plan) -> Node | None:
    """The projection of the tiles at the peak, if its operand is whole but need not be."""
    moment = p.live.index(max(p.live, default=0)) if p.live else 0
    tiles = (t for t in p.tiles if p.timeline.begins[t.first] == moment and not t.head)
    return next((p.order[t.first] for t in tiles if chain(graph, p.order[t.first])), None)
