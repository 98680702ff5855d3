"""Where streams begin and end, and how many rows a call makes: first the lowest peak that adds few enough
instructions, or what the rest of the step needs anyway; below that the fewest instructions."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from math import inf

from mcugrad import ops
from mcugrad.ir import Graph, Node
from mcugrad.plan.front import leading
from mcugrad.plan.over import joined
from mcugrad.plan.rows import Extent, row_bytes, streamable
from mcugrad.plan.stream import FEED, Stream, stream

MOST = 0.03  # of a training step's instructions may streams add
PER_MAC = (1.1, 2.6)  # instructions: of others, of depthwise ones; rather too few
ROWS = (1, 4)  # a call, to compare parts by
ROOM = (1.03, 1, 0.97, 0.94, 0.9, 0.85, 0.8)  # of the limit: live bytes leave gaps where they are placed
Part = tuple[int, int]  # first and last node; a single node runs whole


def choose(graph: Graph, order: Sequence[Node], live: Sequence[int]) -> list[tuple[Stream, ...]]:
    """Ways to stream the frozen nodes that come first, the fewest instructions first; none where that lowers
    no peak. live: bytes alive at each node when none is streamed."""
    front = leading(graph, order)
    rest, whole = max(live[front:], default=0), max(live[:front], default=0)
    if whole <= rest:
        return []
    cuts, most = Cuts(graph, order, front, live), allowed(graph, order)
    limit = cuts.affordable(max(cuts.lowest, rest), whole, most)
    ways = [cuts.grown(round(limit * part)) for part in ROOM] + [cuts.single(limit)]
    ways = [way for way in ways if way and cuts.price(way) <= most]
    ways += [cuts.lean(way, limit, most) for way in ways if most < inf]
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
        works = [graph.value(n.work).nbytes if n.work else 0 for n in order[:front]]
        self.scratch = dict(enumerate(works)) | {FEED: 0}  # bytes, by node
        self.peaks: dict[Part, int] = {}
        self.known: dict[tuple[Part, tuple[int, ...]], tuple[Stream, int]] = {}
        self.starts = self._starts()
        self.call_costs = {i: self._call_cost(i) for i in range(front) if streamable(graph, order[i])}

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
        return min((tuple(self._grow(part, limit) for part in way) for way in sorted(ways)), key=self.price)

    def lean(self, way: Sequence[Stream], limit: int, most: float) -> tuple[Stream, ...]:
        """The same parts with lower peaks, from the last one on, as far as instructions are left for that: in
        one of them less may really be alive than counted, and the others then decide."""
        found = list(way)
        for k, s in reversed([*enumerate(way)]):
            left, part = most - self.price(found) + self.price([s]), (s.first, s.last)
            limits = sorted({max(round(limit * share), self.peak(part)) for share in ROOM[1:]})
            options = (self._grow(part, peak) for peak in limits)
            found[k] = next((option for option in options if self.price([option]) <= left), s)
        return tuple(found)

    def single(self, limit: int) -> tuple[Stream, ...]:
        """The cheapest parts' streams, one row a call."""
        return tuple(self._stream(part, {}) for part in self.cheapest(limit) if part[1] > part[0])

    def price(self, streams: Sequence[Stream]) -> float:
        """Instructions that streams add, about."""
        calls = Counter(step.node for s in streams for step in s.steps if step.node != FEED)
        return sum((count - 1) * self.call_costs[i] for i, count in calls.items())

    def _grow(self, part: Part, limit: int) -> Stream:
        """First more rows where that saves most."""
        rows = dict.fromkeys(range(part[0], part[1] + 1), 1)
        chosen = self._stream(part, rows)
        tried: set[tuple[int, int]] = set()
        while more := [i for i in rows if rows[i] < self._height(i) and (i, rows[i]) not in tried]:
            i = max(more, key=lambda i: self._saved(i, rows[i]))
            tried.add((i, rows[i]))
            other, peak = self._with_peak(part, rows | {i: 2 * rows[i]})
            if peak <= limit:
                chosen, rows = other, rows | {i: 2 * rows[i]}
        return chosen

    def peak(self, part: Part) -> int:
        """Most bytes alive while a part runs."""
        if part not in self.peaks:
            a, b = part
            self.peaks[part] = self.live[a] if a == b else self._peak_of(part, self._stream(part, {}))
        return self.peaks[part]

    def _with_peak(self, part: Part, rows: Mapping[int, int]) -> tuple[Stream, int]:
        key = part, tuple(rows.values())
        if key not in self.known:
            s = self._stream(part, rows)
            self.known[key] = s, self._peak_of(part, s)
        return self.known[key]

    def _stream(self, part: Part, rows: Mapping[int, int]) -> Stream:
        return stream(self.graph, self.order, *part, rows)

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
        scratch = self.scratch | {self.made[name]: 4 * over.words for name, over in s.over.items()}
        for name, extents in held.items():
            row, before = row_bytes(self.graph, name), 0
            for (step, *_), rows in zip(extents, _rows(extents, name in s.windows), strict=True):
                change[step] += rows * row - before
                before = rows * row
        for k, node in enumerate(step.node for step in s.steps):
            change[k] += scratch[node]
            change[k + 1] -= scratch[node]
        return max(accumulate(change[:-1])) + self._passing(part[0], s)

    def _passing(self, node: int, s: Stream) -> int:
        """Bytes of what is alive before the stream and that it does not touch."""
        names = [*(v.name for v in self.graph.inputs if v.size > 1), *self.made]
        alive = (n for n in names if self.made.get(n, -1) < node <= self.last.get(n, -1) and n not in s.held)
        return sum(self.graph.value(n).nbytes for n in alive)

    def _cost(self, part: Part, rows: int) -> float:
        """Instructions that a stream adds with so many rows a call, about; those of moves are few."""
        a, b = part
        return 0.0 if a == b else sum(self._calls(i, rows) * self.call_costs[i] for i in range(a, b + 1))

    def _saved(self, i: int, rows: int) -> float:
        """Instructions that twice as many rows a call save."""
        return (self._calls(i, rows) - self._calls(i, 2 * rows)) * self.call_costs[i]

    def _height(self, i: int) -> int:
        return self.graph.value(self.order[i].outs[0]).shape[0]

    def _calls(self, i: int, rows: int) -> int:
        return -(-self._height(i) // rows) - 1

    def _call_cost(self, i: int) -> float:
        """Instructions of one more call, as measured: weights widened again, rows expanded again."""
        node = self.order[i]
        if node.op == "add":
            return 60.0
        w = self.graph.value(node.ins[1])
        if node.op == "conv2d":
            return 130.0 + (0.1 * w.size + 20 * w.shape[0] if w.shape[1] == 1 else 4 * w.size)
        kernel, _, channels = w.shape
        width, again = self.graph.value(node.ins[0]).shape[1], max(kernel - node.attrs["stride"], 0)
        return float(channels / 4 * (again * (7 * (width + kernel) + 215) + 385))


def _rows(extents: Sequence[Extent], window: bool) -> list[int]:
    """Rows of each extent; of a window as many as before and after it, but none where it holds none."""
    if not window:
        return [end - start for _, start, end in extents]
    ends = [end for *_, end in extents]
    before, after = accumulate(ends, max), [*accumulate(reversed(ends), max)][::-1]
    return [min(most) if end else 0 for end, *most in zip(ends, before, after, strict=True)]
