"""Run consecutive nodes depth-first, a few rows at a time: each map keeps only a window of rolling rows.

Every row is computed once. A map that only nodes of the stream read gets a window: as many rows as its
readers still need, and those of one call. When it is full, the rows still needed move to its start. The
sample is such a map too where the stream begins the order: its rows are taken as they arrive.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mcugrad.ir import Graph, Node

OPS = ("conv2d", "depthwise_conv2d", "add")
NEVER = 1 << 30
FEED = -1  # in a step, instead of a node: the next rows of the sample are taken
Extent = tuple[int, int, int]  # from a step on: first row and end


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

    feed: the graph's input, where it is taken by rows. windows: map -> rows that it keeps. held: map that its
    nodes read or write -> (step, start, end): from this step on, rows start to end of where it lies hold what
    is still needed, or moved. An output's grow; those of an operand that nothing reads afterwards shrink.
    """

    first: int
    last: int
    steps: tuple[Step, ...]
    windows: Mapping[str, int]
    held: Mapping[str, tuple[Extent, ...]]
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
    """A map while the stream runs: rows made, the first row still needed, the most rows kept."""

    name: str
    height: int
    done: int
    whole: bool
    ends: bool
    readers: list[int]
    low: int = 0
    rows: int = 0


@dataclass(frozen=True)
class _Call:
    """Rows `row` to row + rows - 1 of a node's output; `low`: the first one of it still needed before, left:
    of it and the operands after the call."""

    node: int
    row: int
    rows: int
    low: int
    left: Mapping[str, int]


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
        self.maps = {name: self._map(name) for i in self.inside for name in (*self.operands[i], self.out(i))}
        self.calls: list[_Call] = []
        outs = tuple((self.out(i), self.operands[i], self.reach[i], chunk.get(i, 1)) for i in self.inside)
        maps_ = tuple((m.name, m.height, m.whole, m.ends, *m.readers) for m in self.maps.values())
        self.key = (first, self.feed, outs, maps_)  # all that the stream depends on

    def stream(self) -> Stream:
        for i in reversed(self.inside):
            m = self.maps[self.out(i)]
            if m.whole:
                self._need(i, m.height)
        if self.feed:
            self._need(FEED, self.maps[self.feed].height)
        windows = {n: m.rows for n, m in self.maps.items() if not m.whole}
        layout = _Layout(self, windows)
        steps = tuple(layout.step(call) for call in self.calls)
        return Stream(self.first, self.last, steps, windows, layout.held, self.feed)

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
        return _Map(name, height, height, True, ends, here)

    def out(self, node: int) -> str:
        return self.feed if node == FEED else self.order[node].outs[0]

    def _need(self, node: int, rows: int) -> None:
        """Make rows of the node's output until there are so many; of the sample so many at once."""
        m = self.maps[self.out(node)]
        while m.done < rows:
            chunk = rows - m.done if node == FEED else self.chunk.get(node, 1)
            count = min(chunk, m.height - m.done)
            for name in self.operands[node]:
                if name in self.made:
                    self._need(self.made[name], self.reach[node].end(m.done + count - 1))
            self._call(node, m, count)

    def _call(self, node: int, m: _Map, count: int) -> None:
        row, low = m.done, min(m.low, m.done)
        m.done += count
        m.rows = max(m.rows, m.done - low)
        read = [self.maps[name] for name in dict.fromkeys(self.operands[node])]
        for operand in (o for o in read if o.ends):
            operand.low = max(operand.low, min(self._next(r) for r in operand.readers))
        left = {o.name: min(o.low, o.done) for o in (m, *read)}
        self.calls.append(_Call(node, row, count, low, left))

    def _next(self, reader: int) -> int:
        """The first row that a reader needs from now on."""
        out = self.maps[self.out(reader)]
        return NEVER if out.done == out.height else self.reach[reader].start(out.done)


class _Layout:
    """Where rows lie: row r of a map at r - base of its place."""

    def __init__(self, run: _Run, windows: Mapping[str, int]) -> None:
        self._run, self._windows, self._calls = run, windows, 0
        self._base = dict.fromkeys(run.maps, 0)
        self._done = {name: 0 if name in run.made else m.height for name, m in run.maps.items()}
        self._held = {name: {0: (0, done)} for name, done in self._done.items()}

    @property
    def held(self) -> dict[str, tuple[Extent, ...]]:
        """As in Stream."""
        return {name: tuple(_changes(extents)) for name, extents in self._held.items()}

    def step(self, call: _Call) -> Step:
        """The next step."""
        name, drop = self._run.out(call.node), 0
        if call.row + call.rows - self._base[name] > self._windows.get(name, NEVER):
            drop, self._base[name] = call.low - self._base[name], call.low
        to = call.row - self._base[name]
        self._done[name] = call.row + call.rows
        moved = drop + to if drop and to else 0
        self._held[name][self._calls] = call.low - self._base[name], max(to + call.rows, moved)
        self._calls += 1
        for n, low in call.left.items():
            self._held[n][self._calls] = self._extent(n, low)
        if call.node == FEED:
            return Step(FEED, drop, to, (), 0, call.rows, 0)
        reach, operands = self._run.reach[call.node], self._run.operands[call.node]
        start, end = reach.start(call.row), reach.end(call.row + call.rows - 1)
        ins = tuple(start - self._base[n] for n in operands)
        return Step(call.node, drop, to, ins, end - start, call.rows, reach.above(call.row))

    def _extent(self, name: str, low: int) -> tuple[int, int]:
        done, base = self._done[name], self._base[name]
        return (low - base, done - base) if low < done else (0, 0)


def _changes(extents: Mapping[int, tuple[int, int]]) -> Iterator[Extent]:
    before = 0, 0
    for step, extent in extents.items():
        if extent != before:
            yield step, *extent
        before = extent
