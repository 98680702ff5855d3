"""Run consecutive nodes depth-first, a few rows at a time: each map keeps only a window of rolling rows.

Every row is computed once. A map that only nodes of the stream read gets a window: as many rows as its
readers still need, and those of one call. When it is full, the rows still needed move to its start. The
sample is such a map too where the stream begins the order: its rows are taken as they arrive. A depthwise
map lies in its operand's window (plan/over.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mcugrad.ir import Graph, Node
from mcugrad.plan.over import Over, overs
from mcugrad.plan.rows import Extent, Reach, maps

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

    feed: the graph's input, where it is taken by rows. windows: map -> rows that it keeps. held: map that its
    nodes read or write -> (step, start, end): from this step on, rows start to end of where it lies hold what
    is still needed, or moved. An output's grow; those of an operand that nothing reads afterwards shrink.
    over: maps that lie in another one's window. words: of scratch, where a node has more than the least that
    the graph gives it, or that its map needs to lie over another.
    """

    first: int
    last: int
    steps: tuple[Step, ...]
    windows: Mapping[str, int]
    held: Mapping[str, tuple[Extent, ...]]
    feed: str = ""
    over: Mapping[str, Over] = field(default_factory=dict)
    words: Mapping[str, int] = field(default_factory=dict)

    @property
    def feeds(self) -> int:
        """How often rows of the sample are taken."""
        return sum(step.node == FEED for step in self.steps)


def stream(
    graph: Graph, order: Sequence[Node], first: int, last: int, chunk: Mapping[int, int] | None = None
) -> Stream:
    """Stream the nodes first..last of an order; node i makes chunk[i] rows a call, or one.

    What is the same in many graphs, as the frozen front of one network's schemes, is worked out once.
    """
    run = _Run(graph, order, first, last, chunk or {})
    key = run.key
    if key not in _KNOWN:
        run.call()
        while run.late:
            run = _Run(graph, order, first, last, chunk or {}, run.apart | run.late)
            run.call()
        _KNOWN[key] = run.stream()
    return _KNOWN[key]


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
    """First which rows are made when and which are still needed then, later where they lie.

    apart: maps that get a window of their own, whatever they could lie over; late: those that could
    not, as it turned out.
    """

    def __init__(
        self,
        graph: Graph,
        order: Sequence[Node],
        first: int,
        last: int,
        chunk: Mapping[int, int],
        apart: frozenset[str] = frozenset(),
    ) -> None:
        self.graph, self.order, self.chunk, self.apart = graph, order, chunk, apart
        self.first, self.last = first, last
        self.inside = range(first, last + 1)
        self.feed = self._fed()
        self.made = {order[i].outs[0]: i for i in self.inside} | ({self.feed: FEED} if self.feed else {})
        self.reach = {i: Reach.of(graph, order[i]) for i in self.inside}
        self.operands = {i: maps(graph, order[i]) for i in self.inside} | {FEED: ()}
        self.maps = {name: self._map(name) for i in self.inside for name in (*self.operands[i], self.out(i))}
        self.calls: list[_Call] = []
        self.late: set[str] = set()
        readers = {name: len(m.readers) for name, m in self.maps.items() if not m.whole and name not in apart}
        self.over = overs(graph, order[first : last + 1], readers)
        self.above = {o.source: self.maps[name] for name, o in self.over.items()}
        for name, o in self.over.items():
            self.maps[o.source].low = -self.pad(name)
        outs = tuple((self.out(i), self.operands[i], self.reach[i], chunk.get(i, 1)) for i in self.inside)
        maps_ = tuple((m.name, m.height, m.whole, m.ends, *m.readers) for m in self.maps.values())
        self.key = (first, self.feed, outs, maps_, tuple(self.over.items()))  # all that the stream depends on

    def call(self) -> None:
        """Find the calls."""
        for i in reversed(self.inside):
            m = self.maps[self.out(i)]
            if m.whole:
                self._need(i, m.height)
        if self.feed:
            self._need(FEED, self.maps[self.feed].height)

    def stream(self) -> Stream:
        layout = _Layout(self)
        steps = tuple(layout.step(call) for call in self.calls)
        return Stream(self.first, self.last, steps, layout.windows, layout.held, self.feed, self.over)

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

    def pad(self, name: str) -> int:
        """Rows of padding above the operand that a map of the stream is made of."""
        return self.reach[self.made[name]].pad

    def out(self, node: int) -> str:
        return self.feed if node == FEED else self.order[node].outs[0]

    def _need(self, node: int, rows: int) -> None:
        """Make rows of the node's output until there are so many; of the sample so many at once."""
        m = self.maps[self.out(node)]
        while m.done < rows:
            chunk = rows - m.done if node == FEED else self.chunk.get(node, 1)
            chunk = max(chunk, rows - m.done) if m.name in self.over else chunk
            count = min(chunk, m.height - m.done)
            for name in self.operands[node]:
                if name in self.made:
                    self._need(self.made[name], self.reach[node].end(m.done + count - 1))
            self._call(node, m, count)

    def _call(self, node: int, m: _Map, count: int) -> None:
        row, low = m.done, min(m.low, m.done)
        self._watch(node, m, count)
        m.done += count
        m.rows = max(m.rows, m.done - low)
        read = [self.maps[name] for name in dict.fromkeys(self.operands[node])]
        for operand in (o for o in read if o.ends):
            operand.low = max(operand.low, min(self._next(r, operand) for r in operand.readers))
        left = {o.name: min(o.low, o.done) for o in (m, *read)}
        self.calls.append(_Call(node, row, count, low, left))

    def _watch(self, node: int, m: _Map, count: int) -> None:
        """Note a map that cannot lie over another: rows of it are left, or too many are read at once."""
        above = m if m.name in self.over else self.above.get(m.name)
        if above and above.low < above.done:
            self.late.add(above.name)
        if m.name in self.over:
            start, end = self.reach[node].start(m.done), self.reach[node].end(m.done + count - 1)
            self.late |= {m.name} if end - start > self.over[m.name].most else set()

    def _next(self, reader: int, m: _Map) -> int:
        """The first row that a reader needs from now on; the padding counts where the reader's own rows take
        its place."""
        out, reach = self.maps[self.out(reader)], self.reach[reader]
        if out.done == out.height:
            return NEVER
        return (
            m.low if m.name in self.above and out.done * reach.stride < reach.pad else reach.start(out.done)
        )


class _Layout:
    """Where rows lie: row r of a map at r - base of its place. windows: as in Stream."""

    def __init__(self, run: _Run) -> None:
        self._run, self._calls = run, 0
        maps_ = ((name, m) for name, m in run.maps.items() if not m.whole and name not in run.over)
        self.windows = {name: m.rows for name, m in maps_}
        self._base = dict.fromkeys(run.maps, 0) | {o.source: -run.pad(name) for name, o in run.over.items()}
        self._done = {name: 0 if name in run.made else m.height for name, m in run.maps.items()}
        self._held = {name: {0: (0, done)} for name, done in self._done.items()}

    @property
    def held(self) -> dict[str, tuple[Extent, ...]]:
        """As in Stream."""
        return {name: tuple(_changes(extents)) for name, extents in self._held.items()}

    def step(self, call: _Call) -> Step:
        """The next step."""
        name, drop = self._run.out(call.node), 0
        if name in self._run.over:
            self._base[name] = call.row - self._place(name, call)
        elif call.row + call.rows - self._base[name] > self.windows.get(name, NEVER):
            drop, self._base[name] = call.low - self._base[name], call.low
        to = call.row - self._base[name]
        self._done[name] = call.row + call.rows
        moved = drop + to if drop and to else 0
        self._held[name][self._calls] = max(call.low, 0) - self._base[name], max(to + call.rows, moved)
        self._calls += 1
        for n, low in call.left.items():
            self._held[n][self._calls] = self._extent(n, low)
        if call.node == FEED:
            return Step(FEED, drop, to, (), 0, call.rows, 0)
        reach, operands = self._run.reach[call.node], self._run.operands[call.node]
        start, end = reach.start(call.row), reach.end(call.row + call.rows - 1)
        ins = tuple(start - self._base[n] for n in operands)
        return Step(call.node, drop, to, ins, end - start, call.rows, reach.above(call.row))

    def _place(self, name: str, call: _Call) -> int:
        """Where rows go that lie over others: where the window that they are made of begins, with padding."""
        o, reach = self._run.over[name], self._run.reach[call.node]
        to = call.row * reach.stride - reach.pad - self._base[o.source]
        self.windows[name] = max(self.windows.get(name, 0), to + call.rows)
        return to

    def _extent(self, name: str, low: int) -> tuple[int, int]:
        done, base = self._done[name], self._base[name]
        return (max(low, 0) - base, done - base) if low < done else (0, 0)


def _changes(extents: Mapping[int, tuple[int, int]]) -> Iterator[Extent]:
    before = 0, 0
    for step, extent in extents.items():
        if extent != before:
            yield step, *extent
        before = extent
