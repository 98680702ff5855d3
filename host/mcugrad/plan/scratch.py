"""Kernels' scratch memory beyond the least: what other buffers leave free, where it saves instructions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_

from mcugrad import ops
from mcugrad.ir import Graph
from mcugrad.plan.arena import ALIGN, Buffer, rounded, runs
from mcugrad.plan.memory import Plan
from mcugrad.plan.pack import pack, top

WORD = 4
SHARES = (1, 0.5)  # of what is wanted, for all at once
Gap = tuple[int, int]  # first byte and size


def grown(graph: Graph, plan: Plan) -> Plan:
    """Give every node as much scratch as saves instructions, as far as there is room all while it runs;
    neither the arena nor the most bytes alive grow."""
    most = _most(graph, plan)
    live = plan.live
    wanted = {b.values: _wanted(b, plan, live, most) for b in plan.buffers if most.keys() >= set(b.values)}
    buffers, words = _placed(plan, wanted), dict[str, int]()
    parts = [*((s.first, s.last) for s in plan.streams), *((t.first, t.last) for t in plan.tiles)]
    for first, last in parts:
        buffers = _rearranged(buffers, first, last, wanted, plan.arena_bytes)
    for i, b in enumerate(buffers):
        if b.values in wanted:
            others = [*buffers[:i], *buffers[i + 1 :]]
            at, size = _best(_gaps(b, others, plan.arena_bytes), wanted[b.values])
            buffers[i] = replace(_sized(b, size), offset=at)
            words |= {name: min(most[name], size) // WORD for name in b.values}
    return replace(plan, buffers=tuple(sorted(buffers, key=lambda b: (b.first, b.offset))), words=words)


def _wanted(b: Buffer, plan: Plan, live: Sequence[int], most: Mapping[str, int]) -> int:
    """Bytes that save instructions, no more than those alive leave; no two scratches are alive at once."""
    used = max(live[m] for first, last in runs(b.alive) for m in range(first, last + 1))
    return min(max(most[name] for name in b.values), b.size + plan.bound - used)


def _placed(plan: Plan, wanted: Mapping[tuple[str, ...], int]) -> list[Buffer]:
    """All buffers anew with the scratch that is wanted, or half way there, if the arena holds them; else as
    they are."""
    for share in SHARES:
        buffers = [_raised(b, share, wanted.get(b.values, b.size)) for b in plan.buffers]
        placed = pack(buffers, plan.arena_bytes)
        if top(placed) <= plan.arena_bytes:
            return placed
    return list(plan.buffers)


def _rearranged(
    buffers: list[Buffer], first: int, last: int, wanted: Mapping[tuple[str, ...], int], arena: int
) -> list[Buffer]:
    """With the scratches of a stream or of tiles as large as wanted, each where all that lives only in there
    can make room for it; those that lack most come first."""
    inside = [b for b in buffers if first <= b.first and b.last <= last]
    alive = reduce(or_, (b.alive for b in inside), 0)
    around = [b for b in buffers if b.alive & alive and b not in inside]
    lacking = [b for b in inside if b.size < wanted.get(b.values, 0)]
    for values in (b.values for b in sorted(lacking, key=lambda b: b.size - wanted[b.values])):
        for share in SHARES:
            larger = [_raised(b, share, wanted[values]) if b.values == values else b for b in inside]
            placed = pack(larger, arena, around)
            if top(placed) <= arena:
                inside = placed[len(around) :]
                break
    kept = {b.values: b for b in inside}
    return [kept.get(b.values, b) for b in buffers]


def _raised(b: Buffer, share: float, wanted: int) -> Buffer:
    more = int(share * (wanted - b.size)) // ALIGN * ALIGN
    return _sized(b, b.size + more) if more > 0 else b


def _sized(b: Buffer, size: int) -> Buffer:
    return replace(b, size=size, spans=(replace(b.spans[0], end=size),))


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
