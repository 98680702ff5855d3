"""What lies in the arena: which values, in buffers of how many bytes, alive when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from mcugrad.ir import Graph

ALIGN = 4  # the kernels load words


@dataclass(frozen=True)
class Buffer:
    """Bytes of the arena that hold one or more values (in place) from node `first` to node `last`.

    alive: a bit for each moment (see Timeline) at which they do. eaten: (moment, bytes): so many at the start
    that nothing reads from this moment on.
    """

    offset: int
    size: int
    first: int
    last: int
    values: tuple[str, ...]
    alive: int
    eaten: tuple[tuple[int, int], ...] = ()

    def overlaps(self, other: Buffer) -> bool:
        return bool(self.alive & other.alive)

    def dead(self, moment: int) -> int:
        """Bytes at the start that nothing reads from a moment on."""
        return max((size for since, size in self.eaten if since <= moment), default=0)

    @property
    def start(self) -> int:
        """The first moment of its life."""
        return (self.alive & -self.alive).bit_length() - 1


def live_bytes(buffers: Iterable[Buffer], moments: int) -> list[int]:
    """Bytes alive at each moment."""
    change = [0] * (moments + 1)
    for b in buffers:
        for first, last in runs(b.alive):
            change[first] += b.size
            change[last + 1] -= b.size
        gone = 0
        for moment, size in b.eaten:
            if b.alive >> moment:
                change[moment] -= size - gone
                change[b.alive.bit_length()] += size - gone
                gone = size
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
