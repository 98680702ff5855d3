"""When the nodes of an order run, counted in moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcugrad.plan.stream import Stream
from mcugrad.plan.tiles import Tiles


@dataclass(frozen=True)
class Timeline:
    """Moments of an order: one for a node, one for each step of a stream, one for all nodes of tiles."""

    begins: tuple[int, ...]  # of each node; those of a stream or of tiles begin together
    ends: tuple[int, ...]
    moments: int

    @classmethod
    def of(cls, nodes: int, streams: Sequence[Stream] = (), tiles: Sequence[Tiles] = ()) -> Timeline:
        parts = {s.first: (s.last + 1 - s.first, len(s.steps)) for s in streams}
        parts |= {t.first: (t.last + 1 - t.first, 1) for t in tiles}
        begins, ends, now, i = [], [], 0, 0
        while i < nodes:
            count, steps = parts.get(i, (1, 1))
            begins += [now] * count
            ends += [now + steps - 1] * count
            now, i = now + steps, i + count
        return cls(tuple(begins), tuple(ends), now)
