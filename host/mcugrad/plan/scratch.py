"""Kernels' scratch memory beyond the least: what other buffers leave free, where it saves instructions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mcugrad import ops
from mcugrad.ir import Graph
from mcugrad.plan.arena import ALIGN, Buffer, rounded, runs
from mcugrad.plan.memory import Plan

WORD = 4
Gap = tuple[int, int]  # first byte and size


def grown(graph: Graph, plan: Plan) -> Plan:
    """Give every node as much scratch as saves instructions, as far as there is a gap all while it runs;
    neither the arena nor the most bytes alive grow."""
    most = _most(graph, plan)
    buffers, live, words = list(plan.buffers), plan.live, dict[str, int]()
    for i, b in enumerate(buffers):
        if not most.keys() >= set(b.values):
            continue
        moments = [m for first, last in runs(b.alive) for m in range(first, last + 1)]
        room = b.size + plan.bound - max(live[m] for m in moments)
        wanted = min(max(most[name] for name in b.values), room)
        at, size = _best(_gaps(b, [*buffers[:i], *buffers[i + 1 :]], plan.arena_bytes), wanted)
        for m in moments:
            live[m] += size - b.size
        buffers[i] = replace(b, offset=at, size=size, spans=(replace(b.spans[0], end=size),))
        words |= {name: min(most[name], size) // WORD for name in b.values}
    return replace(plan, buffers=tuple(sorted(buffers, key=lambda b: (b.first, b.offset))), words=words)


def _most(graph: Graph, plan: Plan) -> dict[str, int]:
    """Bytes by scratch."""
    found = {}
    for node in plan.order:
        work = ops.get(node.op).work
        if node.work and work:
            found[node.work] = WORD * work([graph.value(n) for n in node.ins], node.attrs).most
    return found


def _best(gaps: Iterable[Gap], wanted: int) -> Gap:
    """The smallest gap that is large enough, or the largest."""
    at, size = min(gaps, key=lambda gap: (gap[1] < wanted, gap[1] if gap[1] >= wanted else -gap[1]))
    return at, min(size, wanted)


def _gaps(b: Buffer, others: Sequence[Buffer], arena: int) -> Iterator[Gap]:
    """Bytes, in whole words, in which nothing else lies while the buffer is alive."""
    taken = [(o.offset + s.start, o.offset + s.end) for o in others for s in o.spans if s.alive & b.alive]
    at = 0
    for start, end in [*sorted(taken), (arena, arena)]:
        if start - at >= ALIGN:
            yield at, (start - at) // ALIGN * ALIGN
        at = max(at, rounded(end))
