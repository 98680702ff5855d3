"""Buffers -> offsets, quickly: each at the lowest free one, the largest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mcugrad.plan.arena import Buffer, rounded

TRIES = 20
NOWHERE = -1

Conflicts = list[list[tuple[int, int, int]]]


def pack(
    buffers: Sequence[Buffer], bound: int, fixed: Sequence[Buffer] = (), tries: int = TRIES
) -> list[Buffer]:
    """Each buffer at the lowest free offset: the largest first, those of most bytes and moments, those that
    come first, those that end last, those that live longest; then again, with the one that ended highest
    before all others. The fixed ones stay where they are, and come first."""
    every = [*fixed, *buffers]
    layouts = _layouts(every, len(fixed), bound, tries)
    best = min(layouts, key=lambda offsets: _end(every, offsets), default={})
    return [replace(every[i], offset=offset) for i, offset in best.items()]


def _layouts(every: Sequence[Buffer], fixed: int, bound: int, tries: int) -> Iterator[dict[int, int]]:
    """Offsets by buffer, tried until none can be better."""
    keys: list[Callable[[Buffer], tuple[int, ...]]] = [
        lambda b: (-b.size, b.first),
        lambda b: (-b.size * b.alive.bit_count(), b.first),
        lambda b: (b.start, -b.size),
        lambda b: (-b.alive.bit_length(), b.start),
        lambda b: (b.start - b.alive.bit_length(), -b.size),
    ]
    conflicts, given = _conflicts(every), {i: b.offset for i, b in enumerate(every[:fixed])}
    for key in keys:
        queue = sorted(range(fixed, len(every)), key=lambda i: (key(every[i]), every[i].values))
        for _ in range(tries):
            offsets = _lay(queue, conflicts, given)
            yield offsets
            if not queue or _end(every, offsets) <= bound:
                return
            highest = max(queue, key=lambda i: offsets[i] + every[i].size)
            queue.remove(highest)
            queue.insert(0, highest)


def _end(buffers: Sequence[Buffer], offsets: Mapping[int, int]) -> int:
    return rounded(max((offset + buffers[i].size for i, offset in offsets.items()), default=0))


def forbidden(b: Buffer, other: Buffer) -> list[tuple[int, int]]:
    """(low, high): b may not start more than `low` and less than `high` bytes behind the other's start, or
    they would hold something in the same bytes at the same moment."""
    found: list[tuple[int, int]] = []
    meets = ((o.start - s.end, o.end - s.start) for s in b.spans for o in other.spans if s.alive & o.alive)
    for low, high in sorted(meets):
        if found and low < found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found


def _conflicts(buffers: Sequence[Buffer]) -> Conflicts:
    """For each buffer: (another one, low, high)."""
    found: Conflicts = [[] for _ in buffers]
    for i, b in enumerate(buffers):
        for j, other in enumerate(buffers[:i]):
            if b.alive & other.alive:
                for low, high in forbidden(b, other):
                    found[i].append((j, low, rounded(high)))
                    found[j].append((i, -high, rounded(-low)))
    return found


def _lay(queue: Iterable[int], conflicts: Conflicts, fixed: Mapping[int, int]) -> dict[int, int]:
    """Offsets by buffer, in the queue's order: each the lowest that those before it leave."""
    offsets, placed = dict(fixed), [NOWHERE] * len(conflicts)
    for i, offset in fixed.items():
        placed[i] = offset
    for i in queue:
        offset = 0
        for low, high in sorted([(o + a, o + b) for j, a, b in conflicts[i] if (o := placed[j]) != NOWHERE]):
            if offset <= low:
                break
            offset = max(offset, high)
        offsets[i] = placed[i] = offset
    return offsets


def top(buffers: Iterable[Buffer]) -> int:
    return rounded(max((b.offset + b.size for b in buffers), default=0))
