"""Give every buffer an offset in the arena: lifetimes, buffers shared in place, largest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mcugrad.ir import Graph, Node, Value
from mcugrad.ops.op import shared
from mcugrad.plan import solver
from mcugrad.plan.arena import ALIGN, Buffer, Span, in_arena, live_bytes, rounded
from mcugrad.plan.cuts import Cuts, choose
from mcugrad.plan.front import leading
from mcugrad.plan.order import search
from mcugrad.plan.pack import pack, top
from mcugrad.plan.schedule import Order, orders
from mcugrad.plan.stream import Stream, row_bytes
from mcugrad.plan.tiles import Block, Tiles, blocks, together

SMALL = 1 / 1000  # of the arena: a gap not worth the solver's seconds


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


@dataclass(frozen=True)
class Plan:
    """A node order, parts of it streamed or run by tiles, and a place for every value.

    bound: the largest sum of live bytes, below which no placement of this order can go.
    least: the same as CP-SAT proved it; the bound, in whole words, where nobody asked.
    floor: what the nodes behind the frozen front need in every order; 0 where nobody asked.
    words: of scratch, where a node has more than the least that the graph gives it (plan/scratch.py).
    """

    order: Order
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    bound: int
    streams: tuple[Stream, ...] = ()
    floor: int = 0
    least: int = 0
    tiles: tuple[Tiles, ...] = ()
    words: Mapping[str, int] = field(default_factory=dict)

    @property
    def offsets(self) -> Mapping[str, int]:
        return {name: b.offset + at for b in self.buffers for name, at in zip(b.values, b.at, strict=True)}

    @property
    def windows(self) -> Mapping[str, int]:
        """Maps that never exist whole: rows kept."""
        return {name: rows for s in self.streams for name, rows in s.windows.items()}

    @property
    def gap(self) -> float:
        """Share of the arena that is not proved to be needed."""
        return 1 - self.least / self.arena_bytes if self.arena_bytes else 0.0

    @property
    def feeds(self) -> int:
        """In how many pieces the first stream takes the sample; 0 where it has to be whole."""
        return self.streams[0].feeds if self.streams else 0

    def part_of(self, node: int) -> int | None:
        """The number of the stream or, counted after all streams, the tiles that run a node."""
        parts: tuple[Stream | Tiles, ...] = (*self.streams, *self.tiles)
        return next((k for k, part in enumerate(parts) if part.first <= node <= part.last), None)

    @property
    def partial(self) -> set[str]:
        """Values that never exist whole."""
        return set(self.windows).union(*(t.inside for t in self.tiles))

    def scratch(self, graph: Graph, node: Node) -> int:
        """Words of scratch that a node has."""
        return self.words.get(node.work, graph.value(node.work).size) if node.work else 0

    @property
    def streamed(self) -> set[str]:
        """What the nodes of streams write."""
        return {name for s in self.streams for node in self.order[s.first : s.last + 1] for name in node.outs}

    @property
    def timeline(self) -> Timeline:
        return Timeline.of(len(self.order), self.streams, self.tiles)

    @property
    def live(self) -> list[int]:
        """Bytes alive at each moment."""
        return live_bytes(self.buffers, self.timeline.moments)


def plan(graph: Graph, exact: bool = True) -> Plan:
    """The best of the candidate orders, wide gradients cut into tiles and the frozen front streamed where
    that pays; each is placed greedily, then, if exact and OR-tools is there, the best order by CP-SAT where a
    lower arena is not ruled out."""
    known = [place(graph, order) for order in orders(graph)]
    front = leading(graph, known[0].order)
    found = search(graph, min(_behind(p, front) for p in known), front)
    known += [place(graph, found.order)] if found.order else []
    whole = min(known, key=lambda p: (_behind(p, front), p.arena_bytes))
    cut = _cut(graph, whole, front)
    known += [cut] if cut.tiles else []
    ways = choose(graph, cut.order, cut.live)
    plans = [*known, *(p for streams in ways for p in _placed(graph, known[::-1], streams, front))]
    best = min(plans, key=lambda p: p.arena_bytes)
    if exact and solver.available():
        best = min(_solved(plans, best), key=lambda p: p.arena_bytes)
    return replace(best, floor=0 if best.tiles else found.floor)


def _cut(graph: Graph, whole: Plan, front: int) -> Plan:
    """With tiles where most bytes are alive behind the front, as far as the front is not the higher peak;
    each block's as wide as they can be for that."""
    lowest = Cuts(graph, whole.order, front, whole.live).lowest_peak()
    p, chosen = _narrowest(graph, whole, front, lowest)
    enough = max(lowest, _behind(p, front))
    for i, block in enumerate(chosen):
        wider = (_retiled(graph, p, i, block.at(p.order, width)) for width in block.widths)
        p = next(way for way in wider if _behind(way, front) <= enough)
    return place(graph, p.order, (), p.tiles) if p.tiles else whole


def _narrowest(graph: Graph, p: Plan, front: int, enough: int) -> tuple[Plan, list[Block]]:
    """The blocks at the peak by the narrowest tiles, one after the other, without places."""
    left, chosen = blocks(graph), list[Block]()
    while _behind(p, front) > enough:
        at = next(i for i, n in enumerate(p.live) if i >= front and n == _behind(p, front))
        peak = p.order[p.timeline.begins.index(at)]
        block = next((b for b in left if any(peak is node for node in b.nodes)), None)
        order = together(graph, p.order, block) if block else None
        if not block or not order:
            break
        left, chosen = [b for b in left if b is not block], [*chosen, block]
        p = _alive(graph, order, (), [b.at(order, b.widths[-1]) for b in chosen])
    return p, chosen


def _retiled(graph: Graph, p: Plan, i: int, tiles: Tiles) -> Plan:
    return _alive(graph, p.order, (), [*p.tiles[:i], tiles, *p.tiles[i + 1 :]])


def _solved(plans: Sequence[Plan], best: Plan) -> Iterator[Plan]:
    """The best, and those of its order that could be better, placed by CP-SAT. The model's hash, which names
    the order, does not depend on OR-tools."""
    for p in sorted(plans, key=lambda p: p.bound):
        if p.order == best.order and p.bound < (1 - SMALL) * best.arena_bytes:
            solved = solver.solve(p.buffers, p.timeline.moments)
            placed = sorted(solved.buffers, key=lambda b: (b.first, b.offset))
            yield replace(p, buffers=tuple(placed), arena_bytes=top(placed), least=solved.least)
    yield best


def _placed(graph: Graph, known: Sequence[Plan], streams: Sequence[Stream], front: int) -> Iterator[Plan]:
    """Each order with these streams, until one is as good as the front lets any be."""
    for p in known:
        placed = place(graph, p.order, streams, p.tiles)
        yield placed
        highest = [b for b in placed.buffers if rounded(b.offset + b.size) == placed.arena_bytes]
        if all(b.last < front for b in highest):
            break


def _behind(whole: Plan, front: int) -> int:
    """Most bytes alive behind the front."""
    return max(whole.live[front:], default=0)


def place(graph: Graph, order: Order, streams: Sequence[Stream] = (), tiles: Sequence[Tiles] = ()) -> Plan:
    """Offsets for one order."""
    p = _alive(graph, order, streams, tiles)
    bound = max(p.live, default=0)
    placed = sorted(pack(p.buffers, bound), key=lambda b: (b.first, b.offset))
    return replace(p, buffers=tuple(placed), arena_bytes=top(placed), bound=bound, least=rounded(bound))


def _alive(graph: Graph, order: Order, streams: Sequence[Stream], tiles: Sequence[Tiles]) -> Plan:
    """Lifetimes for one order; nothing has its place yet."""
    timeline = Timeline.of(len(order), streams, tiles)
    buffers = Lifetimes(graph, order, streams, tiles, timeline).buffers()
    return Plan(order, tuple(buffers), 0, 0, tuple(streams), tiles=tuple(tiles))


class Lifetimes:
    """Buffers of an order; an in-place node whose first operand dies there passes its buffer on."""

    def __init__(
        self,
        graph: Graph,
        order: Order,
        streams: Sequence[Stream],
        tiles: Sequence[Tiles],
        timeline: Timeline,
    ) -> None:
        self.graph, self.order, self.timeline = graph, order, timeline
        self.cut = {name: t for t in tiles for name in t.inside}
        self.sums = {t.sums: t for t in tiles}
        self.scratch: dict[int, str] = {}  # of tiles, by their first node
        self.last = {name: i for i, node in enumerate(order) for name in node.ins}
        self.inside = {i: s for s in streams for i in range(s.first, s.last + 1)}
        self.owner: dict[str, str] = {}
        self.made: dict[str, Buffer] = {}

    def buffers(self) -> list[Buffer]:
        for value in self.graph.inputs:
            if in_arena(self.graph, value.name):
                self._define(value, 0, None)
        for i, node in enumerate(self.order):
            for value in (self.graph.value(n) for n in node.written if in_arena(self.graph, n)):
                self._define(value, i, node)
        return list(self.made.values())

    def _define(self, value: Value, i: int, node: Node | None) -> None:
        owner, at = self._home(node, value, i) if node else (value.name, 0)
        self.owner[value.name] = owner
        if owner == value.name:
            self.made[owner] = self._alone(value, i, node)
        else:
            self.made[owner] = self.made[owner].joined(self._whole(value, i, node), at)

    def _home(self, node: Node, value: Value, i: int) -> tuple[str, int]:
        """Whose buffer holds the value, and where in it. All nodes of tiles work in the same scratch."""
        if value.name == node.work and value.name in self.cut:
            return self.scratch.setdefault(self.cut[value.name].first, value.name), 0
        at = self._over(node, value, i)
        return (value.name, 0) if at is None else (self.owner[node.ins[0]], at)

    def _over(self, node: Node, value: Value, i: int) -> int | None:
        """Where in the buffer of the node's first operand, which dies there, its first output may lie."""
        dies = node.ins and node.ins[0] in self.owner and self.last[node.ins[0]] == i
        if not dies or i in self.inside:  # a stream's nodes take turns
            return None
        place, source = shared(self.graph, node), node.ins[0]
        if (value.name in self.cut) != (source in self.cut):
            return None  # the next tile reads it again
        home = self.made[self.owner[source]]
        at = home.at[home.values.index(source)]
        at += self._bytes(source) - self._bytes(value.name) if place == "end" else 0
        return at if place and value.name == node.outs[0] and at % ALIGN == 0 else None

    def _alone(self, value: Value, i: int, node: Node | None) -> Buffer:
        if i in self.inside and node and value.name == node.work:
            return self._scratch(value, i)
        window = i in self.inside and value.name in self.inside[i].windows
        return self._window(value, i) if window else self._whole(value, i, node)

    def _scratch(self, value: Value, i: int) -> Buffer:
        """Of a stream's node: while its steps run."""
        s = self.inside[i]
        alive = sum(1 << self._moment(s, k) for k, step in enumerate(s.steps) if step.node == i)
        return _buffer(value, s.first, s.last, [Span(alive, 0, rounded(value.nbytes))])

    def _window(self, value: Value, i: int) -> Buffer:
        s = self.inside[i]
        size = s.windows[value.name] * row_bytes(self.graph, value.name)
        alive = sum(_ones(self._moment(s, a), self._moment(s, b)) for a, b in s.spans[value.name])
        return _buffer(value, s.first, s.last, [Span(alive, 0, rounded(size))])

    def _whole(self, value: Value, i: int, node: Node | None) -> Buffer:
        """From its first byte written to its last one read."""
        end = max(self.last.get(value.name, i), i)
        first, last = self.timeline.begins[i], self.timeline.ends[end]
        source, reader = (self.inside.get(i) if node else None), self.inside.get(end)
        gone = [(first, 0)]
        if source:
            first += source.spans[value.name][0][0]
        if reader and value.name in reader.eaten:
            last = self._moment(reader, reader.spans[value.name][-1][1])
            row = row_bytes(self.graph, value.name)
            gone += [(self._moment(reader, step), rows * row) for step, rows in reader.eaten[value.name]]
        gone = [(max(moment, first), size) for moment, size in gone if moment <= last]
        until = [moment - 1 for moment, _ in gone[1:]] + [last]
        size = rounded(self._bytes(value.name))
        spans = [Span(_ones(a, b), n, size) for (a, n), b in zip(gone, until, strict=True) if a <= b]
        if value.name in self.sums:
            room = self.sums[value.name].held(self.graph, value.name)
            spans = [Span(_ones(first, first), 0, room), Span(_ones(first + 1, last), 0, size)]
        return _buffer(value, source.first if source else i, reader.last if reader else end, spans)

    def _bytes(self, name: str) -> int:
        """Of a value that is made by tiles, those of one."""
        return self.cut[name].held(self.graph, name) if name in self.cut else self.graph.value(name).nbytes

    def _moment(self, s: Stream, step: int) -> int:
        return self.timeline.begins[s.first] + step


def _buffer(value: Value, first: int, last: int, spans: Sequence[Span]) -> Buffer:
    return Buffer(0, max(s.end for s in spans), first, last, (value.name,), (0,), tuple(spans))


def _ones(first: int, last: int) -> int:
    return (1 << last + 1) - (1 << first)
