"""Where streams begin and end, and how many rows a call makes: first the lowest peak that adds few enough
instructions, or what the rest of the step needs anyway; below that the fewest instructions."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from math import inf
from types import MappingProxyType

from mcugrad import ops
from mcugrad.ir import Graph, Node
from mcugrad.plan.calls import WORD
from mcugrad.plan.calls import instructions as instructions_of
from mcugrad.plan.front import leading
from mcugrad.plan.over import joined
from mcugrad.plan.rows import Extent, Reach, row_bytes, streamable
from mcugrad.plan.stream import FEED, Step, Stream, stream

MOST = 0.03  # of a training step's instructions may streams add
PER_MAC = (1.0, 2.1)  # instructions: of others, of depthwise ones; rather too few
STEP, MOVED = 110, 1 / 8  # of a call besides, of a byte that a window moves
ROWS = (1, 4)  # a call, to compare parts by
BYTES = (0, 1)  # as a power, how much the bytes count that more rows take
ROOM = (1.03, 1, 0.97, 0.94, 0.9, 0.85, 0.8)  # of the limit: live bytes leave gaps where they are placed
Part = tuple[int, int]  # first and last node; a single node runs whole
Way = tuple[int, int]  # of a node: rows a call, words of scratch


def choose(graph: Graph, order: Sequence[Node], live: Sequence[int]) -> list[tuple[Stream, ...]]:
    """Ways to stream the frozen nodes that come first, the fewest instructions first; none where that lowers
    no peak. live: bytes alive at each node when none is streamed."""
    front = leading(graph, order)
    rest, whole = max(live[front:], default=0), max(live[:front], default=0)
    if whole <= rest:
        return []
    cuts, most = Cuts(graph, order, front, live), allowed(graph, order)
    limit = cuts.affordable(max(cuts.lowest, rest), whole, most)
    grown = {part: cuts.grown(round(limit * part)) for part in ROOM}
    ways = [*grown.values(), cuts.single(limit)]
    ways += [cuts.lean(grown[part], round(limit * part), most) for part in ROOM[:2] if most < inf]
    ways = [way for i, way in enumerate(ways) if way and cuts.price(way) <= most and way not in ways[:i]]
    return sorted(ways, key=cuts.price)


def allowed(graph: Graph, order: Sequence[Node]) -> float:
    """Instructions that streams may add to a training step; memory comes first where nothing trains."""
    trains = any(ops.get(node.op).phase == "update" for node in order)
    return MOST * instructions(graph, order) if trains else inf


def instructions(graph: Graph, order: Sequence[Node]) -> float:
    """Of a step that streams nothing, about."""
    return sum(
        PER_MAC[node.op.startswith("depthwise")]
        * ops.get(node.op).macs([graph.value(n) for n in node.ins], [graph.value(n) for n in node.outs])
        for node in order
    )


class Cuts:
    """The parts that a front can be cut into."""

    def __init__(self, graph: Graph, order: Sequence[Node], front: int, live: Sequence[int]) -> None:
        self.graph, self.order, self.front, self.live = graph, order, front, live
        self.last = {name: i for i, node in enumerate(order) for name in node.ins}
        self.made = {name: i for i, node in enumerate(order) for name in node.outs}
        self.words = [self._words(node) for node in order[:front]]  # the least, and the most that helps
        self.peaks: dict[Part, int] = {}
        self.known: dict[tuple[Part, tuple[Way, ...]], tuple[Stream, int]] = {}
        self.costs: dict[tuple[int, Way, float], float] = {}
        self.added: dict[tuple[Part, int], float] = {}
        self.starts = self._starts()

    @cached_property
    def lowest(self) -> int:
        """The lowest peak of all ways to cut."""
        peaks = [0]
        for b in range(self.front):
            best = max(peaks[b], self.live[b])
            for a in range(self.starts[b], b):
                if peaks[a] < best:
                    best = min(best, max(peaks[a], self.peak((a, b))))
            peaks.append(best)
        return peaks[-1]

    def affordable(self, lowest: int, highest: int, most: float) -> int:
        """The lowest limit of the peak for which the cheapest parts add no more instructions than `most`."""
        if self.price(self.grown(lowest)) <= most:
            return lowest
        limits = range(lowest, highest, -(-lowest // 100))
        k = bisect_left(limits, True, key=lambda limit: self.price(self.grown(limit)) <= most)
        return limits[k] if k < len(limits) else highest

    def cheapest(self, limit: int, rows: int = 1) -> list[Part]:
        """The parts that cost the fewest instructions at so many rows a call with no peak above the limit."""
        best: list[tuple[float, list[Part]]] = [(0, [])]
        for b in range(self.front):
            ways = [(best[a][0] + self._cost((a, b), rows), a) for a in range(self.starts[b], b + 1)]
            cost, a = next(
                (w for w in sorted(ways) if w[0] < inf and self.peak((w[1], b)) <= limit), (inf, b)
            )
            best.append((cost, [*best[a][1], (a, b)]))
        return best[-1][1]

    def grown(self, limit: int) -> tuple[Stream, ...]:
        """The cheapest parts' streams, with more rows a call where that does not pass the limit."""
        limits = {max(round(limit * part), self.lowest) for part in ROOM[1:]}
        ways = {
            tuple(p for p in self.cheapest(most, rows) if p[1] > p[0]) for most in limits for rows in ROWS
        }
        return min((tuple(self._cheap(part, limit) for part in way) for way in sorted(ways)), key=self.price)

    def lean(self, way: Sequence[Stream], limit: int, most: float) -> tuple[Stream, ...]:
        """The same parts with lower peaks, from the last one on, as far as instructions are left for that: in
        one of them less may really be alive than counted, and the others then decide."""
        found = list(way)
        for k, s in reversed([*enumerate(way)]):
            left, part = most - self.price(found) + self.price([s]), (s.first, s.last)
            limits = sorted({max(round(limit * share), self.peak(part)) for share in ROOM[1:]})
            options = (self._cheap(part, peak) for peak in limits)
            found[k] = next((option for option in options if self.price([option]) <= left), s)
        return tuple(found)

    def single(self, limit: int) -> tuple[Stream, ...]:
        """The cheapest parts' streams, one row a call."""
        return tuple(
            self._stream(part, self._least(part)) for part in self.cheapest(limit) if part[1] > part[0]
        )

    def price(self, streams: Sequence[Stream], words: Mapping[str, int] = MappingProxyType({})) -> float:
        """Instructions that streams add, about. words: of scratch, where they are known."""
        return sum(self._price(s, words) for s in streams)

    def _price(self, s: Stream, known: Mapping[str, int] = MappingProxyType({})) -> float:
        words = {i: known.get(self.order[i].work, self._expected(i, s)) for i in range(s.first, s.last + 1)}
        calls = Counter((step.node, (step.rows, words[step.node]), step.rows_in) for step in _calls(s))
        made = sum(count * (STEP + self._call(*call)) for call, count in calls.items())
        moved = sum(self._row(step.node, s) * step.to for step in s.steps if step.drop)
        return made + MOVED * moved - sum(map(self._whole, words))

    def _expected(self, i: int, s: Stream) -> int:
        """Words of scratch in the end; others than depthwise ones mostly find a gap."""
        return self._scratch(i, s) if self.order[i].op.startswith("depthwise") else self.words[i][1]

    def _scratch(self, i: int, s: Stream) -> int:
        """Words of scratch."""
        node = self.order[i]
        least = s.over[node.outs[0]].words if node.outs[0] in s.over else self.words[i][0]
        return max(s.words.get(node.work, 0), least)

    def _row(self, node: int, s: Stream) -> int:
        return row_bytes(self.graph, s.feed if node == FEED else self.order[node].outs[0])

    def _least(self, part: Part) -> dict[int, Way]:
        return {i: (1, self.words[i][0]) for i in range(part[0], part[1] + 1)}

    def _cheap(self, part: Part, limit: int) -> Stream:
        return min((self._grow(part, limit, by) for by in BYTES), key=self._price)

    def _grow(self, part: Part, limit: int, by: float) -> Stream:
        """First more rows, or scratch, where that saves most; by: how much the bytes count that it takes."""
        ways = self._least(part)
        chosen = self._stream(part, ways)
        tried: set[tuple[int, Way]] = set()
        while more := [step for step in self._more(ways) if step not in tried]:
            has = {i: self._scratch(i, chosen) for i in ways}
            worth = [
                self._saved(i, way, ways[i], has[i]) / self._taken(i, way, ways[i], chosen) ** by
                for i, way in more
            ]
            i, way = more[worth.index(max(worth))]
            tried.add((i, way))
            other, peak = self._with_peak(part, ways | {i: way})
            if peak <= limit:
                chosen, ways = other, ways | {i: way}
        return chosen

    def _saved(self, i: int, way: Way, before: Way, words: int) -> float:
        """Instructions that a node's other way saves; words: of scratch that it has anyway."""
        return self._made(i, (before[0], words)) - self._made(i, (way[0], max(way[1], words)))

    def _taken(self, i: int, way: Way, before: Way, s: Stream) -> float:
        """Bytes that it takes, about: rows of both windows, scratch while the node runs."""
        node, rows = self.order[i], way[0] - before[0]
        out, source = node.outs[0], node.ins[0]
        windows = (out in s.windows and out not in s.over) * row_bytes(self.graph, out)
        windows += (source in s.windows) * row_bytes(self.graph, source) * node.attrs.get("stride", 1)
        return max(int(rows * windows) + WORD * (way[1] - before[1]), 1)

    def _more(self, ways: Mapping[int, Way]) -> Iterator[tuple[int, Way]]:
        """Twice as many rows of a node, or all the scratch that saves instructions."""
        for i, (rows, words) in ways.items():
            if rows < self._height(i):
                yield i, (2 * rows, words)
            if words < self.words[i][1] and self.order[i].op.startswith("depthwise"):
                yield i, (rows, self.words[i][1])

    def peak(self, part: Part) -> int:
        """Most bytes alive while a part runs."""
        if part not in self.peaks:
            a, b = part
            self.peaks[part] = (
                self.live[a] if a == b else self._peak_of(part, self._stream(part, self._least(part)))
            )
        return self.peaks[part]

    def _with_peak(self, part: Part, ways: Mapping[int, Way]) -> tuple[Stream, int]:
        key = part, tuple(ways.values())
        if key not in self.known:
            s = self._stream(part, ways)
            self.known[key] = s, self._peak_of(part, s)
        return self.known[key]

    def _stream(self, part: Part, ways: Mapping[int, Way]) -> Stream:
        s = stream(self.graph, self.order, *part, {i: rows for i, (rows, _) in ways.items()})
        more = {i: words for i, (_, words) in ways.items() if words > self.words[i][0]}
        return replace(s, words={self.order[i].work: words for i, words in more.items()})

    def _words(self, node: Node) -> Way:
        """The least and the most scratch."""
        if not node.work:
            return 0, 0
        work = ops.get(node.op).work
        ins = [self.graph.value(n) for n in node.ins]
        least = self.graph.value(node.work).size
        return least, max(work(ins, node.attrs).most if work else 0, least)

    def _starts(self) -> list[int]:
        """For each node the first one of the longest stream that ends with it."""
        starts: list[int] = []
        for i, node in enumerate(self.order[: self.front]):
            joins = i > 0 and streamable(self.graph, node) and streamable(self.graph, self.order[i - 1])
            starts.append(starts[-1] if joins else i)
        return starts

    def _peak_of(self, part: Part, s: Stream) -> int:
        """Counted so that it can be placed: rows that a window lacks for a while are of no use to others."""
        change, held = [0] * (len(s.steps) + 1), joined(s.held, s.over)
        for name, extents in held.items():
            row, before = row_bytes(self.graph, name), 0
            for (step, *_), rows in zip(extents, _rows(extents, name in s.windows), strict=True):
                change[step] += rows * row - before
                before = rows * row
        for k, node in enumerate(step.node for step in s.steps):
            words = 0 if node == FEED else self._scratch(node, s)
            change[k] += WORD * words
            change[k + 1] -= WORD * words
        return max(accumulate(change[:-1])) + self._passing(part[0], s)

    def _passing(self, node: int, s: Stream) -> int:
        """Bytes of what is alive before the stream and that it does not touch."""
        names = [*(v.name for v in self.graph.inputs if v.size > 1), *self.made]
        alive = (n for n in names if self.made.get(n, -1) < node <= self.last.get(n, -1) and n not in s.held)
        return sum(self.graph.value(n).nbytes for n in alive)

    def _cost(self, part: Part, rows: int) -> float:
        """Instructions that a stream adds with so many rows a call, about; those of moves are few."""
        a, b = part
        if (part, rows) not in self.added:
            nodes = range(a, b + 1) if b > a else ()
            added = (self._made(i, (rows, self.words[i][1])) - self._whole(i) for i in nodes)
            self.added[part, rows] = sum(added, 0.0)
        return self.added[part, rows]

    def _made(self, i: int, way: Way) -> float:
        """Instructions of all calls of a node."""
        if not self.order[i].op.startswith("depthwise"):
            way = way[0], self.words[i][1]
        height, reach = self._height(i), Reach.of(self.graph, self.order[i])
        calls = -(-height // way[0])
        read = reach.height + (calls - 1) * max(reach.kernel - reach.stride, 0)
        full, rest = divmod(height, way[0])
        last = STEP + self._call(i, (rest, way[1]), read / calls) if rest else 0.0
        return full * (STEP + self._call(i, way, read / calls)) + last

    def _whole(self, i: int) -> float:
        """Of a node that is not streamed."""
        height = self.graph.value(self.order[i].ins[0]).shape[0]
        return self._call(i, (self._height(i), self.words[i][1]), height)

    def _call(self, i: int, way: Way, read: float) -> float:
        if (i, way, read) not in self.costs:
            self.costs[i, way, read] = instructions_of(self.graph, self.order[i], *way, read)
        return self.costs[i, way, read]

    def _height(self, i: int) -> int:
        return self.graph.value(self.order[i].outs[0]).shape[0]


def _calls(s: Stream) -> Iterator[Step]:
    """Those of kernels."""
    return (step for step in s.steps if step.node != FEED)


def _rows(extents: Sequence[Extent], window: bool) -> list[int]:
    """Rows of each extent; of a window as many as before and after it, but none where it holds none."""
    if not window:
        return [end - start for _, start, end in extents]
    ends = [end for *_, end in extents]
    before, after = accumulate(ends, max), [*accumulate(reversed(ends), max)][::-1]
    return [min(most) if end else 0 for end, *most in zip(ends, before, after, strict=True)]
