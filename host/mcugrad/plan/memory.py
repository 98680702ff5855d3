"""Give every buffer an offset in the arena: lifetimes, buffers shared in place, largest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from mcugrad.ir import Graph, Node, Value
from mcugrad.ops.op import shared
from mcugrad.plan import solver
from mcugrad.plan.arena import ALIGN, Buffer, Span, changing, in_arena, live_bytes, rounded
from mcugrad.plan.cuts import Cuts, choose
from mcugrad.plan.front import leading
from mcugrad.plan.order import least, search
from mcugrad.plan.pack import pack, top
from mcugrad.plan.rows import Extent, row_bytes
from mcugrad.plan.schedule import Order, orders
from mcugrad.plan.stream import Stream
from mcugrad.plan.tiles import Block, Tiles, blocks, narrowest, together
from mcugrad.plan.timeline import Timeline

SOLVED = 1  # more plans, at most
TRIED, HARD = 2, 4.0  # plans, and the effort on each, where that leaves too much
WORD = 4


@dataclass(frozen=True)
class Plan:
    """A node order, parts of it streamed or run by tiles, and a place for every value.

    bound: the largest sum of live bytes, below which no placement of this order can go.
    least: the same as CP-SAT proved it; the bound, in whole words, where nobody asked.
    floor: what the nodes behind the frozen front need in every order and, if some run by tiles, in tiles of
    any width; 0 where nobody asked.
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


def plan(graph: Graph, exact: bool = True, tiled: bool = True) -> Plan:
    """The best of the candidate orders, wide gradients cut into tiles (if tiled) and the frozen front
    streamed where that pays; each is placed greedily, then, if exact and OR-tools is there, the best order by
    CP-SAT where a lower arena is not ruled out."""
    plans, floor = _ways(graph, tiled)
    best = _solved(plans) if exact and solver.available() else min(plans, key=lambda p: p.arena_bytes)
    front = leading(graph, best.order)
    return replace(best, floor=least(graph, front, narrowest(graph)) if best.tiles else floor)


def lowest(graph: Graph) -> Plan:
    """The way with the fewest bytes alive at its peak, placed greedily."""
    return min(_ways(graph)[0], key=lambda p: (p.bound, p.arena_bytes))


def _ways(graph: Graph, tiled: bool = True) -> tuple[list[Plan], int]:
    """Orders, with tiles and streams and without; and what every order needs behind the front."""
    known = [place(graph, order) for order in orders(graph)]
    front = leading(graph, known[0].order)
    found = search(graph, min(_behind(p, front) for p in known), front)
    known += [place(graph, found.order)] if found.order else []
    whole = min(known, key=lambda p: (_behind(p, front), p.arena_bytes))
    cut = _cut(graph, whole, front) if tiled else whole
    known += [cut] if cut.tiles else []
    return _streamed(graph, known, choose(graph, cut.order, cut.live), front), found.floor


def _cut(graph: Graph, whole: Plan, front: int) -> Plan:
    """With tiles where most bytes are alive behind the front, as far as the front is not the higher peak;
    each block's as wide as they can be for that."""
    lowest = Cuts(graph, whole.order, front, whole.live).lowest
    p, chosen = _narrowest(graph, whole, front, lowest)
    enough = max(lowest, _behind(p, front))
    for i, block in enumerate(chosen):
        wider = (_retiled(graph, p, i, block.at(p.order, width)) for width in block.widths)
        p = next(way for way in wider if _behind(way, front) <= enough)
    return place(graph, p.order, (), p.tiles) if p.tiles else whole


def _narrowest(graph: Graph, p: Plan, front: int, enough: int) -> tuple[Plan, list[Block]]:
    """The blocks at the peak by the narrowest tiles, one after the other, without places."""
    left, chosen = blocks(graph), list[Block]()
    while (most := _behind(p, front)) > enough:
        at = p.live.index(most, front)
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


def _solved(plans: Sequence[Plan]) -> Plan:
    """The best, and those of its order that could be better, placed by CP-SAT; of those that need no more
    bytes the first. The model's hash, which names the order, does not depend on OR-tools."""
    best = _exact(min(plans, key=lambda p: p.arena_bytes))
    same = [p for p in plans if p.order == best.order and p.bound <= best.arena_bytes]
    found = map(_exact, takewhile(lambda p: p.streams != best.streams, same[:SOLVED]))
    return next((p for p in found if p.arena_bytes <= best.arena_bytes), best)


def harder(graph: Graph, found: Plan) -> Plan:
    """Lower, if other streams of the same order allow it, those with the fewest live bytes first."""
    lower = [p for p in _ways(graph)[0] if p.order == found.order and p.bound < found.arena_bytes]
    for p in sorted(lower, key=lambda p: p.bound)[:TRIED]:
        if p.bound < (1 - solver.SMALL) * found.arena_bytes and solver.available():
            other = replace(solved(p, HARD), floor=found.floor)
            found = min(found, other, key=lambda p: p.arena_bytes)
    return found


def _exact(p: Plan) -> Plan:
    return p if p.bound >= (1 - solver.SMALL) * p.arena_bytes else solved(p)


def solved(p: Plan, effort: float = solver.EFFORT) -> Plan:
    """Placed by CP-SAT, no higher."""
    found = solver.solve(p.buffers, p.timeline.moments, effort) if solver.available() else None
    if not found:
        return p
    placed = tuple(sorted(found.buffers, key=lambda b: (b.first, b.offset)))
    return replace(p, buffers=placed, arena_bytes=top(placed), least=found.least)


def _streamed(
    graph: Graph, known: Sequence[Plan], ways: Sequence[Sequence[Stream]], front: int
) -> list[Plan]:
    """All that is known, and each order with these streams, where that could need less."""
    plans, behind = list(known), [_behind(p, front) for p in known]
    for streams in ways:
        for p, rest in sorted(zip(known, behind, strict=True), key=lambda known: known[1]):
            if rest < (1 - solver.SMALL) * min(p.arena_bytes for p in plans):
                plans.append(place(graph, p.order, streams, p.tiles))
    return plans


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
    lives = Lifetimes(graph, order, streams, tiles, timeline)
    return Plan(order, lives.buffers(), 0, 0, tuple(streams), tiles=tuple(tiles), words=lives.words)


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
        self.over = {name: over for s in streams for name, over in s.over.items()}
        outs = {n.work: n.outs[0] for n in (order[i] for i in self.inside) if n.outs[0] in self.over}
        self.words = {work: self.over[out].words for work, out in outs.items()}
        for work, words in (more for s in streams for more in s.words.items()):
            self.words[work] = max(words, self.words.get(work, 0))
        self.owner: dict[str, str] = {}
        self.made: dict[str, Buffer] = {}

    def buffers(self) -> tuple[Buffer, ...]:
        for value in self.graph.inputs:
            if in_arena(self.graph, value.name):
                self._define(value, 0, None)
        for i, node in enumerate(self.order):
            for value in (self.graph.value(n) for n in node.written if in_arena(self.graph, n)):
                self._define(value, i, node)
        return tuple(self.made.values())

    def _define(self, value: Value, i: int, node: Node | None) -> None:
        owner, at = self._home(node, value, i) if node else (value.name, 0)
        self.owner[value.name] = owner
        alone = self._alone(value, i, node)
        self.made[owner] = alone if owner == value.name else self.made[owner].joined(alone, at)

    def _home(self, node: Node, value: Value, i: int) -> tuple[str, int]:
        """Whose buffer holds the value, and where in it. All nodes of tiles work in the same scratch."""
        if value.name == node.work and value.name in self.cut:
            return self.scratch.setdefault(self.cut[value.name].first, value.name), 0
        if value.name in self.over:
            return self.owner[self.over[value.name].source], 0
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
        """Its bytes that hold something, from the first ones written to the last ones read."""
        if i in self.inside and node and value.name == node.work:
            return self._scratch(value, i)
        end = max(self.last.get(value.name, i), i)
        reader = self.inside.get(end)
        fed = reader and node is None and value.name in reader.windows
        source = self.inside.get(i) if node or fed else None
        found = [] if source else self._from_node(value, self.timeline.begins[i])
        for s in filter(None, (source, reader if reader is not source else None)):
            found += self._in_stream(value, s)
        spans = tuple(changing(found, self.timeline.ends[end]))
        first, last = source.first if source else i, reader.last if reader else end
        return Buffer(0, max(s.end for s in spans), first, last, (value.name,), (0,), spans)

    def _scratch(self, value: Value, i: int) -> Buffer:
        """Of a stream's node: while its steps run."""
        s, begin = self.inside[i], self.timeline.begins[i]
        alive = sum(1 << begin + k for k, step in enumerate(s.steps) if step.node == i)
        spans = (Span(alive, 0, WORD * self.words.get(value.name, value.size)),)
        return Buffer(0, spans[0].end, s.first, s.last, (value.name,), (0,), spans)

    def _from_node(self, value: Value, begin: int) -> list[Extent]:
        """(moment, start, end) of all its bytes; first those of its sums where tiles add them up."""
        whole = [(begin, 0, rounded(self._bytes(value.name)))]
        if value.name in self.sums:
            return [
                (begin, 0, self.sums[value.name].held(self.graph, value.name)),
                (begin + 1, *whole[0][1:]),
            ]
        return whole

    def _in_stream(self, value: Value, s: Stream) -> list[Extent]:
        """The same of the rows that a stream's steps hold."""
        row, begin = row_bytes(self.graph, value.name), self.timeline.begins[s.first]
        return [(begin + step, low * row, rounded(high * row)) for step, low, high in s.held[value.name]]

    def _bytes(self, name: str) -> int:
        """Of a value that is made by tiles, those of one."""
        return self.cut[name].held(self.graph, name) if name in self.cut else self.graph.value(name).nbytes
