"""What lies in the arena: which values, in buffers of how many bytes, alive when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from operator import or_

from mcugrad.ir import Graph

ALIGN = 4  # the kernels load words


@dataclass(frozen=True)
class Span:
    """Bytes start to end of a buffer, at the moments (see Timeline) whose bits are set."""

    alive: int
    start: int
    end: int

    def moved(self, by: int) -> Span:
        return Span(self.alive, self.start + by, self.end + by)


@dataclass(frozen=True)
class Buffer:
    """Bytes of the arena that hold one or more values (in place) from node `first` to node `last`.

    at: where in the buffer each value starts. spans: which of its bytes hold something, when.
    """

    offset: int
    size: int
    first: int
    last: int
    values: tuple[str, ...]
    at: tuple[int, ...]
    spans: tuple[Span, ...]

    @cached_property
    def alive(self) -> int:
        """A bit for each moment at which it holds something."""
        return reduce(or_, (span.alive for span in self.spans), 0)

    def held(self, moment: int) -> int:
        """Bytes that hold something at a moment."""
        return sum(span.end - span.start for span in self.spans if span.alive >> moment & 1)

    def joined(self, other: Buffer, at: int) -> Buffer:
        """With a later buffer laid over it, `at` bytes behind its start."""
        low = max(-at, 0)
        spans = hull([*(s.moved(low) for s in self.spans), *(s.moved(low + at) for s in other.spans)])
        places = (*(a + low for a in self.at), *(a + low + at for a in other.at))
        size, values = max(s.end for s in spans), self.values + other.values
        return Buffer(self.offset, size, self.first, other.last, values, places, spans)

    @property
    def start(self) -> int:
        """The first moment of its life."""
        return (self.alive & -self.alive).bit_length() - 1


def hull(spans: Iterable[Span]) -> tuple[Span, ...]:
    """One span for each moment: from the first byte that one of them holds to the last."""
    found: dict[tuple[int, int], int] = {}
    for new in spans:
        rest = new.alive
        for (start, end), alive in list(found.items()):
            both = alive & rest
            wider = min(start, new.start), max(end, new.end)
            found[start, end] &= ~both
            found[wider] = found.get(wider, 0) | both
            rest &= ~both
        found[new.start, new.end] = found.get((new.start, new.end), 0) | rest
    return tuple(Span(alive, *extent) for extent, alive in found.items() if alive)


def changing(extents: Sequence[tuple[int, int, int]], last: int) -> Iterator[Span]:
    """Spans of a buffer. extents: (moment, start, end), its bytes in use until the next one, or the last."""
    found: dict[tuple[int, int], int] = {}
    until = [*(moment - 1 for moment, *_ in extents[1:]), last]
    for (first, start, end), final in zip(extents, until, strict=True):
        found[start, end] = found.get((start, end), 0) | (1 << final + 1) - (1 << first)
    return (Span(alive, *extent) for extent, alive in found.items() if alive and extent[0] < extent[1])


def live_bytes(buffers: Iterable[Buffer], moments: int) -> list[int]:
    """Bytes alive at each moment."""
    change = [0] * (moments + 1)
    for b in buffers:
        for span in b.spans:
            for first, last in runs(span.alive):
                change[first] += span.end - span.start
                change[last + 1] -= span.end - span.start
    return list(accumulate(change[:-1]))


def runs(bits: int) -> Iterator[tuple[int, int]]:
    """(first, last) of each run of ones."""
    at = 0
    while bits:
        skip = (bits & -bits).bit_length() - 1
        bits, at = bits >> skip, at + skip
        size = (~bits & (bits + 1)).bit_length() - 1
        yield at, at + size - 1
        bits, at = bits >> size, at + size


def in_arena(graph: Graph, name: str) -> bool:
    """Scalars that are arguments or results of the step function live with the caller."""
    scalar = name in graph.outputs.values() or graph.value(name) in graph.inputs
    return name not in graph.params and not (scalar and graph.value(name).size == 1)


def rounded(n: int) -> int:
    return -(-n // ALIGN) * ALIGN
