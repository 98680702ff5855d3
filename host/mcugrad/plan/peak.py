"""Why the peak is where it is: the buffers alive at the node that needs most."""

from __future__ import annotations

from mcugrad.ir import Graph
from mcugrad.plan import memory
from mcugrad.plan.memory import Plan


def live_bytes(plan: Plan) -> list[int]:
    """Arena bytes alive while each node runs; the most of all its steps where it is streamed."""
    timeline = plan.timeline
    live = memory.live_bytes(plan.buffers, timeline.moments)
    spans = zip(timeline.begins, timeline.ends, strict=True)
    return [max(live[first : last + 1]) for first, last in spans]


def peak_node(plan: Plan) -> int:
    live = live_bytes(plan)
    return live.index(max(live))


def at_peak(graph: Graph, plan: Plan) -> list[tuple[str, int]]:
    """(buffer, bytes) alive at the peak, largest first; of one that a stream has eaten into, the rest."""
    live = memory.live_bytes(plan.buffers, plan.timeline.moments)
    moment = live.index(max(live))
    alive = [b for b in plan.buffers if b.alive >> moment & 1]
    sizes = [(" = ".join(b.values), b.size - b.dead(moment)) for b in alive]
    return sorted(sizes, key=lambda pair: -pair[1])


def state_bytes(graph: Graph) -> int:
    """Bytes of struct mg_state: all trained tensors, rounded up to a word."""
    return -(-sum(p.value.nbytes for p in graph.params.values() if p.trained) // 4) * 4
