"""Buffers -> offsets, quickly: each at the lowest free one, the largest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from mcugrad.plan.arena import Buffer, rounded

TRIES = 30


def pack(buffers: list[Buffer], bound: int) -> list[Buffer]:
    """Each buffer at the lowest free offset: the largest first, those that live longest, those that come
    first; then again, with the one that ended highest before all others."""
    keys: list[Callable[[Buffer], tuple[int, ...]]] = [
        lambda b: (-b.size, b.first),
        lambda b: (-b.size * b.alive.bit_count(), b.first),
        lambda b: (b.start, -b.size),
    ]
    best = min(_layouts(buffers, keys, bound), key=lambda offsets: _end(buffers, offsets), default={})
    return [replace(buffers[i], offset=offset) for i, offset in best.items()]


def _layouts(
    buffers: list[Buffer], keys: list[Callable[[Buffer], tuple[int, ...]]], bound: int
) -> Iterator[dict[int, int]]:
    """Offsets by buffer, tried until none can be better."""
    conflicts = _conflicts(buffers)
    for key in keys:
        queue = sorted(range(len(buffers)), key=lambda i: (key(buffers[i]), buffers[i].values))
        for _ in range(TRIES):
            offsets = _lay(queue, conflicts)
            yield offsets
            if _end(buffers, offsets) <= bound:
                return
            highest = max(queue, key=lambda i: offsets[i] + buffers[i].size)
            queue.remove(highest)
            queue.insert(0, highest)


def _end(buffers: list[Buffer], offsets: Mapping[int, int]) -> int:
    return rounded(max((offset + buffers[i].size for i, offset in offsets.items()), default=0))


def _conflicts(buffers: list[Buffer]) -> list[list[tuple[int, int, int]]]:
    """For each buffer those alive with it: (which, reach, end), from the other one's offset. It may lie at or
    below the reach, or from the end on."""
    return [
        [(j, *_apart(b, o)) for j, o in enumerate(buffers) if j != i and b.alive & o.alive]
        for i, b in enumerate(buffers)
    ]


def _apart(b: Buffer, o: Buffer) -> tuple[int, int]:
    """How far from o's start b has to begin, at most below it, at least above: bytes that hold something at
    the same moment never meet."""
    pairs = [(s, t) for s in b.spans for t in o.spans if s.alive & t.alive]
    return min(t.start - s.end for s, t in pairs), max(t.end - s.start for s, t in pairs)


def _lay(queue: Iterable[int], conflicts: list[list[tuple[int, int, int]]]) -> dict[int, int]:
    """Offsets by buffer, in the queue's order: each the lowest that those before it leave."""
    offsets: dict[int, int] = {}
    for i in queue:
        offset = 0
        others = (
            (offsets[j] + reach, rounded(offsets[j] + end)) for j, reach, end in conflicts[i] if j in offsets
        )
        for low, high in sorted(others):
            if offset <= low:
                break
            offset = max(offset, high)
        offsets[i] = offset
    return offsets


def top(buffers: Iterable[Buffer]) -> int:
    return rounded(max((b.offset + b.size for b in buffers), default=0))
