"""Why the peak is where it is: the buffers alive at the node that needs most, and what would lower it."""

from __future__ import annotations

from dataclasses import dataclass

from mcugrad import ops
from mcugrad.ir import DType, Graph, Node
from mcugrad.plan import arena
from mcugrad.plan.arena import Buffer
from mcugrad.plan.front import parted
from mcugrad.plan.memory import Plan


@dataclass(frozen=True)
class Held:
    """A buffer alive at the peak: what it is, who writes it first and reads it last, how to be rid of it.

    size: bytes; of one that a stream has eaten into, the rest.
    """

    name: str
    size: int
    kind: str
    made: str
    read: str
    hint: str


def live_bytes(plan: Plan) -> list[int]:
    """Arena bytes alive while each node runs; the most of all its steps where it is streamed."""
    timeline = plan.timeline
    live = arena.live_bytes(plan.buffers, timeline.moments)
    spans = zip(timeline.begins, timeline.ends, strict=True)
    return [max(live[first : last + 1]) for first, last in spans]


def peak_node(plan: Plan) -> int:
    live = live_bytes(plan)
    return live.index(max(live))


def at_peak(graph: Graph, plan: Plan) -> list[tuple[str, int]]:
    """(buffer, bytes) alive at the peak, largest first; of one that a stream has eaten into, the rest."""
    return [(held.name, held.size) for held in why(graph, plan)]


def why(graph: Graph, plan: Plan) -> list[Held]:
    """The buffers alive at the peak, largest first."""
    live = arena.live_bytes(plan.buffers, plan.timeline.moments)
    moment = live.index(max(live))
    frozen = {name for node in parted(graph, plan.order)[0] for name in node.outs}
    held = [_held(graph, plan, b, moment, frozen) for b in plan.buffers if b.alive >> moment & 1]
    return sorted(held, key=lambda h: -h.size)


def _held(graph: Graph, plan: Plan, buffer: Buffer, moment: int, frozen: set[str]) -> Held:
    made = next((n for n in plan.order if buffer.values[0] in n.written), None)
    readers = [n for n in plan.order if set(buffer.values) & set(n.ins)]
    read = readers[-1] if readers else made or plan.order[buffer.last]
    if buffer.values[0] in plan.windows:
        kind, hint = "window of a stream", "a smaller input: the window is as wide as the map"
    elif made and made.work not in buffer.values and buffer.values[0] in plan.partial:
        kind, hint = "tile", f"narrower tiles, or fewer pixels in {made.layer}"
    else:
        kind, hint = _kind(graph, buffer, made, read, frozen)
    first, last = (f"{n.op} {n.layer}" if n else "the host" for n in (made, read))
    return Held(" = ".join(buffer.values), buffer.held(moment), kind, first, last, hint)


def _kind(graph: Graph, buffer: Buffer, made: Node | None, read: Node, frozen: set[str]) -> tuple[str, str]:
    value = graph.value(buffer.values[-1])
    later = ops.get(read.op).phase != "forward"
    if made is None and not later:
        return "input", "take it row by row as it arrives"
    if value.dtype is DType.BITS:
        return "clamp mask", f"train fewer biases: {read.layer}'s is one of them"
    if made and value.name == made.work:
        return "scratch", f"fewer channels in {made.layer}"
    if made is None or ops.get(made.op).phase == "forward":
        if later:
            return "saved input", f"a smaller share of {read.layer}, or recompute it"
        if set(buffer.values) <= frozen:
            return "frozen map", f"a smaller input, or a network with fewer channels before {read.layer}"
        return "activation", f"train {read.layer} and those before it not at all, and stream them"
    if value.dtype is DType.S32:
        return "weight gradient", f"a smaller share of {made.layer}, or its update tile by tile"
    return "gradient", f"go through {made.layer}'s block by channel tiles, or train fewer layers before it"


def state_bytes(graph: Graph) -> int:
    """Bytes of struct mg_state: all trained tensors, rounded up to a word."""
    return -(-sum(p.value.nbytes for p in graph.params.values() if p.trained) // 4) * 4
