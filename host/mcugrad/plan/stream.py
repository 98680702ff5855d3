"""Run consecutive nodes depth-first, a few rows at a time: each map keeps only a window of rolling rows.

Every row is computed once. A map that only nodes of the stream read gets a window: as many rows as its
readers still need, and those of one call. When it is full, the rows still needed move to its start. The
sample is such a map too where the stream begins the order: its rows are taken as they arrive.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mcugrad.ir import Graph, Node

OPS = ("conv2d", "depthwise_conv2d", "add")
NEVER = 1 << 30
FEED = -1  # in a step, instead of a node: the next rows of the sample are taken


@dataclass(frozen=True)
class Step:
    """One call of a node's kernel: `rows` rows of its output, at row `to` of where that lies, out of
    `rows_in` rows of each operand, at row ins[k] of where it lies, with `pad` rows of padding above. Before
    it, `drop` rows go from the start of the output's window and the `to` rows after them move there."""

    node: int
    drop: int
    to: int
    ins: tuple[int, ...]
    rows_in: int
    rows: int
    pad: int


@dataclass(frozen=True)
class Stream:
    """Nodes `first` to `last` of an order, as `steps`.

    feed: the graph's input, where it is taken by rows. windows: map -> rows that it keeps. spans: map ->
    (first, last) steps between which its memory is needed; those of an output end with the stream. eaten:
    operand that nothing after the stream reads -> (step, rows): the rows at its start that no step from this
    one on reads.
    """

    first: int
    last: int
    steps: tuple[Step, ...]
    windows: Mapping[str, int]
    spans: Mapping[str, tuple[tuple[int, int], ...]]
    eaten: Mapping[str, tuple[tuple[int, int], ...]]
    feed: str = ""

    @property
    def feeds(self) -> int:
        """How often rows of the sample are taken."""
        return sum(step.node == FEED for step in self.steps)


@dataclass(frozen=True)
class Reach:
    """Which rows of its operands a node needs."""

    kernel: int
    stride: int
    pad: int
    height: int

    @classmethod
    def of(cls, graph: Graph, node: Node) -> Reach:
        height = graph.value(node.ins[0]).shape[0]
        if node.op == "add":
            return cls(1, 1, 0, height)
        kernel = graph.value(node.ins[1]).shape[1 if node.op == "conv2d" else 0]
        return cls(kernel, node.attrs["stride"], node.attrs["pad"], height)

    def start(self, row: int) -> int:
        """The first row that output row `row` and those after it need."""
        return min(max(row * self.stride - self.pad, 0), self.height)

    def end(self, row: int) -> int:
        """One past the last row that output row `row` needs."""
        return min(max(row * self.stride - self.pad + self.kernel, 0), self.height)

    def above(self, row: int) -> int:
        """Rows of padding above the window of output row `row`."""
        return max(self.pad - row * self.stride, 0)


def streamable(graph: Graph, node: Node) -> bool:
    """Whether the kernel works row by row and writes nothing but its map."""
    if node.op not in OPS or len(node.outs) != 1:
        return False
    return all(len(graph.value(n).shape) == 3 for n in (*node.outs, *maps(graph, node)))


def maps(graph: Graph, node: Node) -> tuple[str, ...]:
    """The operands that are maps."""
    return tuple(n for n in node.ins if n not in graph.params)


def row_bytes(graph: Graph, name: str) -> int:
    _, width, channels = graph.value(name).shape
    return width * channels


def stream(
    graph: Graph, order: Sequence[Node], first: int, last: int, chunk: Mapping[int, int] | None = None
) -> Stream:
    """Stream the nodes first..last of an order; node i makes chunk[i] rows a call, or one.

    What is the same in many graphs, as the frozen front of one network's schemes, is worked out once.
    """
    run = _Run(graph, order, first, last, chunk or {})
    if run.key not in _KNOWN:
        _KNOWN[run.key] = run.stream()
    return _KNOWN[run.key]


_KNOWN: dict[tuple[Hashable, ...], Stream] = {}


@dataclass
class _Map:
    """A map while the stream runs: rows made, the first row still needed, and when its memory is."""

    name: str
    height: int
    done: int
    whole: bool
    ends: bool
    readers: list[int]
    low: int = 0
    rows: int = 0
    since: int = NEVER
    spans: list[tuple[int, int]] = field(default_factory=list)
    eaten: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Call:
    node: int
    row: int
    rows: int
    low: int  # of its output


class _Run:
    """First which rows are made when and which are still needed then, later where they lie."""

    def __init__(
        self, graph: Graph, order: Sequence[Node], first: int, last: int, chunk: Mapping[int, int]
    ) -> None:
        self.graph, self.order, self.chunk = graph, order, chunk
        self.first, self.last = first, last
        self.inside = range(first, last + 1)
        self.feed = self._fed()
        self.made = {order[i].outs[0]: i for i in self.inside} | ({self.feed: FEED} if self.feed else {})
        self.reach = {i: Reach.of(graph, order[i]) for i in self.inside}
        self.operands = {i: maps(graph, order[i]) for i in self.inside} | {FEED: ()}
        self.maps = {name: self._map(name) for i in self.inside for name in (*self.operands[i], self._out(i))}
        self.calls: list[_Call] = []
        outs = tuple((self._out(i), self.operands[i], self.reach[i], chunk.get(i, 1)) for i in self.inside)
        maps_ = tuple((m.name, m.height, m.whole, m.ends, *m.readers) for m in self.maps.values())
        self.key = (first, self.feed, outs, maps_)  # all that the stream depends on

    def stream(self) -> Stream:
        for i in reversed(self.inside):
            m = self.maps[self._out(i)]
            if m.whole:
                self._need(i, m.height)
        if self.feed:
            self._need(FEED, self.maps[self.feed].height)
        for m in self.maps.values():
            self._close(m)
        windows = {n: m.rows for n, m in self.maps.items() if not m.whole}
        spans = {n: tuple(m.spans) for n, m in self.maps.items()}
        eaten = {n: tuple(m.eaten) for n, m in self.maps.items() if m.ends and n not in self.made}
        return Stream(self.first, self.last, self._lay(windows), windows, spans, eaten, self.feed)

    def _fed(self) -> str:
        """The sample, where the stream is first and last to read it."""
        sample = self.graph.inputs[0]
        readers = self._readers.get(sample.name, [])
        alone = self.first == 0 and readers and readers[-1] <= self.last
        return sample.name if alone and sample.name not in self.graph.outputs.values() else ""

    @cached_property
    def _readers(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for i, node in enumerate(self.order):
            for name in node.ins:
                found.setdefault(name, []).append(i)
        return found

    def _map(self, name: str) -> _Map:
        height, readers = self.graph.value(name).shape[0], self._readers.get(name, [])
        ends = bool(readers) and readers[-1] <= self.last and name not in self.graph.outputs.values()
        here = sorted(set(readers) & set(self.inside))
        if name in self.made:
            return _Map(name, height, 0, not ends, ends, here)
        return _Map(name, height, height, True, ends, here, since=0)

    def _out(self, node: int) -> str:
        return self.feed if node == FEED else self.order[node].outs[0]

    def _need(self, node: int, rows: int) -> None:
        """Make rows of the node's output until there are so many; of the sample so many at once."""
        m = self.maps[self._out(node)]
        while m.done < rows:
            chunk = rows - m.done if node == FEED else self.chunk.get(node, 1)
            count = min(chunk, m.height - m.done)
            for name in self.operands[node]:
                if name in self.made:
                    self._need(self.made[name], self.reach[node].end(m.done + count - 1))
            self._call(node, m, count)

    def _call(self, node: int, m: _Map, count: int) -> None:
        now = len(self.calls)
        low = min(m.low, m.done)
        self.calls.append(_Call(node, m.done, count, low))
        m.since = min(m.since, now)
        m.done += count
        m.rows = max(m.rows, m.done - low)
        self._forget(m, now)
        for name in set(self.operands[node]):
            self._release(self.maps[name], now)

    def _release(self, m: _Map, now: int) -> None:
        """Of a map that step `now` has read: the rows that nobody needs from here on."""
        low = min(self._next(r) for r in m.readers)
        if low > m.low and m.ends:
            m.low = low
            m.eaten.append((now + 1, min(low, m.height)))
            self._forget(m, now)

    def _forget(self, m: _Map, now: int) -> None:
        if m.ends and m.low >= m.done:
            m.spans.append((m.since, now))
            m.since = NEVER

    def _next(self, reader: int) -> int:
        """The first row that a reader needs from now on."""
        out = self.maps[self._out(reader)]
        return NEVER if out.done == out.height else self.reach[reader].start(out.done)

    def _close(self, m: _Map) -> None:
        if m.since != NEVER:
            m.spans.append((m.since, len(self.calls) - 1))

    def _lay(self, windows: Mapping[str, int]) -> tuple[Step, ...]:
        base = dict.fromkeys(self.maps, 0)
        return tuple(self._step(call, base, windows) for call in self.calls)

    def _step(self, call: _Call, base: dict[str, int], windows: Mapping[str, int]) -> Step:
        name, drop = self._out(call.node), 0
        if name in windows and call.row + call.rows - base[name] > windows[name]:
            drop, base[name] = call.low - base[name], call.low
        to = call.row - base[name]
        if call.node == FEED:
            return Step(FEED, drop, to, (), 0, call.rows, 0)
        reach = self.reach[call.node]
        start, end = reach.start(call.row), reach.end(call.row + call.rows - 1)
        ins = tuple(start - base[n] for n in self.operands[call.node])
        return Step(call.node, drop, to, ins, end - start, call.rows, reach.above(call.row))
