"""What training never changes: the nodes before the first trained layer, and what crosses to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcugrad.ir import Graph, Node
from mcugrad.ops.op import get

if TYPE_CHECKING:
    from mcugrad.plan.memory import Plan

SCALARS = ("label", "lr")


def parted(graph: Graph, nodes: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Nodes in an order that can run -> (frozen front, rest)."""
    moving = {name for name, p in graph.params.items() if p.trained} | set(SCALARS)
    front, rest = [], []
    for node in nodes:
        # A gather only copies channels of what crosses anyway.
        if (
            get(node.op).phase != "forward"
            or node.op in ("gather", "gather_planes")
            or moving & set(node.ins)
        ):
            moving |= set(node.outs)
            rest.append(node)
        else:
            front.append(node)
    return front, rest


def leading(graph: Graph, order: Sequence[Node]) -> int:
    """How many nodes of an order run before the first one of the rest."""
    _, rest = parted(graph, order)
    return order.index(rest[0]) if rest else len(order)


def crossing(graph: Graph, plan: Plan, nodes: int) -> list[tuple[int, int]]:
    """(offset, size) in the arena of all that the nodes after the first `nodes` still read."""
    inputs = {v.name for v in graph.inputs}
    made = [b for b in plan.buffers if b.first < nodes or inputs & set(b.values)]
    return [(b.offset, b.size) for b in made if b.last >= nodes]
