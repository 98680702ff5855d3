"""Give every buffer an offset in the arena: lifetimes, buffers shared in place, largest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from mcugrad import ops
from mcugrad.ir import Graph, Node, Value
from mcugrad.plan.cuts import choose
from mcugrad.plan.schedule import Order, orders
from mcugrad.plan.stream import Stream, row_bytes

ALIGN = 4  # the kernels load words
TRIES = 30


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


@dataclass(frozen=True)
class Timeline:
    """Moments of an order: one for a node, one for each step of a stream."""

    begins: tuple[int, ...]  # of each node; those of a stream begin together
    ends: tuple[int, ...]
    moments: int

    @classmethod
    def of(cls, nodes: int, streams: Sequence[Stream]) -> Timeline:
        inside = {i: s for s in streams for i in range(s.first, s.last + 1)}
        begins, ends, now, i = [], [], 0, 0
        while i < nodes:
            count, steps = (inside[i].last + 1 - i, len(inside[i].steps)) if i in inside else (1, 1)
            begins += [now] * count
            ends += [now + steps - 1] * count
            now, i = now + steps, i + count
        return cls(tuple(begins), tuple(ends), now)


@dataclass(frozen=True)
class Plan:
    """A node order, parts of it streamed, and a place for every value. `bound` = the largest sum of live
    bytes, below which no placement of this order can go."""

    order: Order
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    bound: int
    streams: tuple[Stream, ...] = ()

    @property
    def offsets(self) -> Mapping[str, int]:
        return {name: b.offset for b in self.buffers for name in b.values}

    @property
    def windows(self) -> Mapping[str, int]:
        """Maps that never exist whole: rows kept."""
        return {name: rows for s in self.streams for name, rows in s.windows.items()}

    @property
    def gap(self) -> float:
        """Share of the arena that is not proved to be needed."""
        return 1 - self.bound / self.arena_bytes if self.arena_bytes else 0.0

    def stream_of(self, node: int) -> int | None:
        """The number of the stream that runs a node."""
        return next((k for k, s in enumerate(self.streams) if s.first <= node <= s.last), None)

    @property
    def streamed(self) -> set[str]:
        """What the nodes of streams write."""
        return {name for s in self.streams for node in self.order[s.first : s.last + 1] for name in node.outs}

    @property
    def timeline(self) -> Timeline:
        return Timeline.of(len(self.order), self.streams)


def plan(graph: Graph) -> Plan:
    """The best of the candidate orders, each placed greedily; the frozen front streamed where that pays."""
    candidates = orders(graph)
    whole = min((place(graph, order) for order in candidates), key=lambda p: p.arena_bytes)
    ways = choose(graph, whole.order, live_bytes(whole.buffers, len(whole.order)))
    streamed = [place(graph, order, streams) for streams in ways for order in candidates]
    return min((whole, *streamed), key=lambda p: p.arena_bytes)


def place(graph: Graph, order: Order, streams: Sequence[Stream] = ()) -> Plan:
    """Offsets for one order."""
    timeline = Timeline.of(len(order), streams)
    buffers = Lifetimes(graph, order, streams, timeline).buffers()
    bound = max(live_bytes(buffers, timeline.moments), default=0)
    placed = sorted(_pack(buffers, bound), key=lambda b: (b.first, b.offset))
    return Plan(order, tuple(placed), _top(placed), bound, tuple(streams))


def _pack(buffers: list[Buffer], bound: int) -> list[Buffer]:
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
    return _round(max((offset + buffers[i].size for i, offset in offsets.items()), default=0))


def _conflicts(buffers: list[Buffer]) -> list[list[tuple[int, int, int]]]:
    """For each buffer those alive with it: (which, reach, end), from the other one's offset. It may lie at or
    below the reach, or from the end on; what of one is dead when the other comes may be overwritten."""
    starts = [b.start for b in buffers]
    return [
        [
            (j, o.dead(starts[i]) - b.size, o.size - b.dead(starts[j]))
            for j, o in enumerate(buffers)
            if j != i and b.overlaps(o)
        ]
        for i, b in enumerate(buffers)
    ]


def _lay(queue: Iterable[int], conflicts: list[list[tuple[int, int, int]]]) -> dict[int, int]:
    """Offsets by buffer, in the queue's order: each the lowest that those before it leave."""
    offsets: dict[int, int] = {}
    for i in queue:
        offset = 0
        others = (
            (offsets[j] + reach, _round(offsets[j] + end)) for j, reach, end in conflicts[i] if j in offsets
        )
        for low, high in sorted(others):
            if offset <= low:
                break
            offset = max(offset, high)
        offsets[i] = offset
    return offsets


def _top(buffers: Iterable[Buffer]) -> int:
    return _round(max((b.offset + b.size for b in buffers), default=0))


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


class Lifetimes:
    """Buffers of an order; an in-place node whose first operand dies there passes its buffer on."""

    def __init__(self, graph: Graph, order: Order, streams: Sequence[Stream], timeline: Timeline) -> None:
        self.graph, self.order, self.timeline = graph, order, timeline
        self.last = {name: i for i, node in enumerate(order) for name in node.ins}
        self.inside = {i: s for s in streams for i in range(s.first, s.last + 1)}
        self.owner: dict[str, str] = {}
        self.made: dict[str, Buffer] = {}

    def buffers(self) -> list[Buffer]:
        for value in self.graph.inputs:
            if in_arena(self.graph, value.name):
                self._define(value, 0, None)
        for i, node in enumerate(self.order):
            for value in (self.graph.value(n) for n in node.outs if in_arena(self.graph, n)):
                self._define(value, i, node)
        return list(self.made.values())

    def _define(self, value: Value, i: int, node: Node | None) -> None:
        source = node.ins[0] if node and ops.get(node.op).inplace and value.name == node.outs[0] else ""
        if self._passes(source, value, i):
            home = self.made[self.owner[source]]
            buffer = self._whole(value, i, node)
            values = (*home.values, value.name)
            merged = replace(home, last=buffer.last, values=values, alive=home.alive | buffer.alive)
            self.owner[value.name], self.made[self.owner[source]] = self.owner[source], merged
        else:
            self.owner[value.name] = value.name
            window = node is not None and i in self.inside and value.name in self.inside[i].windows
            self.made[value.name] = self._window(value, i) if window else self._whole(value, i, node)

    def _passes(self, source: str, value: Value, i: int) -> bool:
        if source not in self.owner or self.last[source] != i:
            return False
        return self.graph.value(source).nbytes == value.nbytes

    def _window(self, value: Value, i: int) -> Buffer:
        s = self.inside[i]
        size = s.windows[value.name] * row_bytes(self.graph, value.name)
        alive = sum(_ones(self._moment(s, a), self._moment(s, b)) for a, b in s.spans[value.name])
        return Buffer(0, _round(size), s.first, s.last, (value.name,), alive)

    def _whole(self, value: Value, i: int, node: Node | None) -> Buffer:
        """From its first byte written to its last one read."""
        end = max(self.last.get(value.name, i), i)
        first, last = self.timeline.begins[i], self.timeline.ends[end]
        source, reader = (self.inside.get(i) if node else None), self.inside.get(end)
        eaten: list[tuple[int, int]] = []
        if source:
            first += source.spans[value.name][0][0]
        if reader and value.name in reader.eaten:
            last = self._moment(reader, reader.spans[value.name][-1][1])
            row = row_bytes(self.graph, value.name)
            eaten = [(self._moment(reader, step), rows * row) for step, rows in reader.eaten[value.name]]
        nodes = source.first if source else i, reader.last if reader else end
        return Buffer(0, _round(value.nbytes), *nodes, (value.name,), _ones(first, last), tuple(eaten))

    def _moment(self, s: Stream, step: int) -> int:
        return self.timeline.begins[s.first] + step


def _ones(first: int, last: int) -> int:
    return (1 << last + 1) - (1 << first)


def _round(n: int) -> int:
    return -(-n // ALIGN) * ALIGN
