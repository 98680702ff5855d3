"""Why the peak is where it is: the buffers alive at the node that needs most."""

from __future__ import annotations

from mcugrad.ir import Graph
from mcugrad.plan.memory import Plan


def live_bytes(plan: Plan) -> list[int]:
    """Arena bytes alive while each node runs."""
    return [sum(b.size for b in plan.buffers if b.first <= i <= b.last) for i in range(len(plan.order))]


def peak_node(plan: Plan) -> int:
    live = live_bytes(plan)
    return live.index(max(live))


def at_peak(graph: Graph, plan: Plan) -> list[tuple[str, int]]:
    """(buffer, bytes) alive at the peak, largest first."""
    i = peak_node(plan)
    alive = [b for b in plan.buffers if b.first <= i <= b.last]
    return sorted(((" = ".join(b.values), b.size) for b in alive), key=lambda pair: -pair[1])


def state_bytes(graph: Graph) -> int:
    """Bytes of struct mg_state: all trained tensors, rounded up to a word."""
    return -(-sum(p.value.nbytes for p in graph.params.values() if p.trained) // 4) * 4
