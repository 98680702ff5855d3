"""The checker's own lifetimes, counted row by row from the order, the streams' steps and the tiles: each
buffer lives just as long, no two meet, and the figures of the plan are what they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from mcugrad.errors import InternalError
from mcugrad.ir import Graph, Node
from mcugrad.ir.graph import Array
from mcugrad.plan.arena import Buffer
from mcugrad.plan.front import leading
from mcugrad.plan.memory import Plan
from mcugrad.plan.stream import FEED, Step, Stream

WORD = 4


def recount(graph: Graph, plan: Plan) -> None:
    """Raise InternalError for a value without a place of its own, a buffer too small, off a word or outside,
    a life that is not the values', two buffers that meet, a bound that is not the largest live set."""
    if short := [name for name, words in plan.words.items() if words < graph.value(name).size]:
        raise InternalError(f"{short[0]} is less than its node needs")
    uses = _Uses(graph, plan)
    held = sorted(name for b in plan.buffers for name in b.values)
    if held != sorted(uses.made):
        raise InternalError("the buffers do not hold each value of the arena once")
    for b in plan.buffers:
        _check_buffer(graph, plan, b, uses)
    live = [_live(plan, moment) for moment in range(uses.moments)]
    if max(live, default=0) != plan.bound:
        raise InternalError(f"the largest live set is {max(live, default=0)} bytes, not {plan.bound}")
    front = leading(graph, plan.order)
    behind = max(live[plan.timeline.begins[front] :] if front < len(plan.order) else [], default=0)
    if not plan.floor <= behind <= plan.bound <= plan.least <= plan.arena_bytes:
        bounds = f"{plan.floor}, {plan.bound}, {plan.least}"
        raise InternalError(f"an arena of {plan.arena_bytes} bytes below its bounds {bounds}")


def needed(graph: Graph, node: Node, first: int, last: int) -> tuple[int, int]:
    """The input rows that output rows first..last are made of, padding included."""
    if node.op == "add":
        return first, last
    weight, stride, pad = graph.value(node.ins[1]).shape, node.attrs["stride"], node.attrs["pad"]
    kernel = weight[1] if node.op == "conv2d" else weight[0]
    return first * stride - pad, last * stride - pad + kernel - 1


class _Uses:
    """When each row of each value is written first and read last, by moments: a node, or a step of a stream.

    A value that is no map of a stream has one row. nodes: the first and last node of each value's life.
    bases: at a moment that writes rows of it, the row that lies at the start of its place from then on.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan, self.moments = graph, plan, 0
        self.made: dict[str, Array] = {}
        self.used: dict[str, Array] = {}
        self.nodes: dict[str, tuple[int, int]] = {}
        self.bases: dict[str, dict[int, int]] = {}
        self._maps = {name for s in plan.streams for name in s.held}
        self._calls = {plan.order[i].work: n for s in plan.streams for i, n in _steps(s).items()}
        for name in (v.name for v in graph.inputs if self._placed(v.name)):
            self._write(name, 0, len(self._rows(name)), 0, 0)
        for i, s in _parts(plan):
            if s:
                self._stream(s)
            else:
                self._node(plan.order[i], i)
                self.moments += not _inside(plan, i)

    def _placed(self, name: str) -> bool:
        """Params and the scalars that the step is called with or returns lie elsewhere."""
        value = self.graph.value(name)
        outside = value in self.graph.inputs or name in self.graph.outputs.values()
        return name not in self.graph.params and (value.size > 1 or not outside)

    def _rows(self, name: str) -> range:
        """Of a map of a stream; of the scratch of a node of one, its calls."""
        return range(self.graph.value(name).shape[0] if name in self._maps else self._calls.get(name, 1))

    def _node(self, node: Node, i: int) -> None:
        for name in (n for n in node.ins if self._placed(n)):
            self._read(name, 0, len(self._rows(name)), i)
        for name in (n for n in node.written if self._placed(n)):
            self._write(name, 0, len(self._rows(name)), i, i)

    def _stream(self, s: Stream) -> None:
        done = dict.fromkeys((FEED, *range(s.first, s.last + 1)), 0)
        calls = dict.fromkeys(done, 0)
        if s.feed:
            del self.made[s.feed], self.used[s.feed], self.nodes[s.feed]
        for step in s.steps:
            row = done[step.node]
            if step.node != FEED:
                self._reads(self.plan.order[step.node], step, row, s.last)
                self._scratch(self.plan.order[step.node].work, calls[step.node], s)
            name = s.feed if step.node == FEED else self.plan.order[step.node].outs[0]
            self._write(name, row, row + step.rows, s.first, s.first)
            self.bases.setdefault(name, {})[self.moments] = row - step.to
            done[step.node] += step.rows
            calls[step.node] += 1
            self.moments += 1

    def _scratch(self, name: str, call: int, s: Stream) -> None:
        if name:
            self._write(name, call, call + 1, s.first, s.last)

    def _reads(self, node: Node, step: Step, row: int, last: int) -> None:
        low, high = needed(self.graph, node, row, row + step.rows - 1)
        for name in (n for n in node.ins if self._placed(n)):
            self._read(name, max(low, 0), high + 1, last)

    def _write(self, name: str, first: int, end: int, node: int, last: int) -> None:
        if name not in self.made:
            self.made[name] = np.full(len(self._rows(name)), -1)
            self.used[name] = np.full(len(self._rows(name)), -1)
            self.nodes[name] = node, last
        self.made[name][first:end] = self.moments
        self.used[name][first:end] = self.moments

    def _read(self, name: str, first: int, end: int, node: int) -> None:
        if name not in self.made or (self.made[name][first:end] < 0).any():
            raise InternalError(f"{name} is read before it is made")
        self.used[name][first:end] = self.moments
        self.nodes[name] = self.nodes[name][0], max(self.nodes[name][1], node)

    def life(self, names: Sequence[str]) -> range:
        """Moments from the first use of one of the values to the last."""
        first = min(int(self.made[name].min()) for name in names)
        return range(first, max(int(self.used[name].max()) for name in names) + 1)

    def held(self, name: str, moment: int) -> tuple[int, int] | None:
        """First byte and end of what it needs at a moment: of the rows that are made, from the first one on
        that is still to be read; of those that a window moves then, also where they were; of a stream's
        scratch, all at each call."""
        if name in self._calls:
            return (0, self._row_bytes(name, moment)) if (self.made[name] == moment).any() else None
        made, until = self.made[name], np.maximum.accumulate(self.used[name])  # no hole is left below a row
        alive = (made <= moment) & (moment <= until)
        if not alive.any():
            return None
        moved = np.flatnonzero(alive & (made < moment)) - self._base(name, moment - 1)
        places = [*(np.flatnonzero(alive) - self._base(name, moment)), *moved]
        row = self._row_bytes(name, moment)
        return int(min(places)) * row, int(max(places) + 1) * row

    def _base(self, name: str, moment: int) -> int:
        """The row at the start of where a map lies, after a moment."""
        written = [m for m in self.bases.get(name, {}) if m <= moment]
        return self.bases[name][max(written)] if written else 0

    def _row_bytes(self, name: str, moment: int) -> int:
        if name in self._maps:
            return self.graph.value(name).nbytes // len(self.made[name])
        if name in {t.sums for t in self.plan.tiles} and moment == self.made[name][0]:
            return WORD * self.graph.value(name).size
        return _bytes(self.graph, self.plan, name)


def _steps(s: Stream) -> Counter[int]:
    """Calls of each of a stream's nodes."""
    return Counter(step.node for step in s.steps if step.node != FEED)


def _parts(plan: Plan) -> Iterator[tuple[int, Stream | None]]:
    """Nodes and streams in order: (index of the first node, the stream or None)."""
    starts, i = {s.first: s for s in plan.streams}, 0
    while i < len(plan.order):
        yield i, starts.get(i)
        i = starts[i].last + 1 if i in starts else i + 1


def _inside(plan: Plan, i: int) -> bool:
    """Whether the node after node i runs in the same tiles, at the same moment."""
    return any(t.first <= i < t.last for t in plan.tiles)


def _check_buffer(graph: Graph, plan: Plan, b: Buffer, uses: _Uses) -> None:
    name = b.values[0]
    nodes = uses.nodes[name][0], max(uses.nodes[value][1] for value in b.values)
    life = uses.life(b.values)
    wrong = any(_extent(b, moment) != _needs(b, moment, uses) for moment in life)
    if wrong or (b.start, b.alive.bit_length(), b.first, b.last) != (life[0], life[-1] + 1, *nodes):
        raise InternalError(f"the buffer of {name} is not what its values need")
    sizes = zip(b.values, b.at, strict=True)
    if any(at < 0 or at % WORD or at + _bytes(graph, plan, value) > b.size for value, at in sizes):
        raise InternalError(f"{name} has only {b.size} bytes")
    if b.offset % WORD or b.size % WORD or b.offset < 0 or b.offset + b.size > plan.arena_bytes:
        raise InternalError(f"{name} lies outside the arena or off a word")


def _extent(b: Buffer, moment: int) -> list[tuple[int, int]]:
    return [(span.start, span.end) for span in b.spans if span.alive >> moment & 1]


def _needs(b: Buffer, moment: int, uses: _Uses) -> list[tuple[int, int]]:
    """From the first byte that one of the values needs to the last, in whole words."""
    held = [(at, uses.held(value, moment)) for value, at in zip(b.values, b.at, strict=True)]
    found = [(at + h[0], at + h[1]) for at, h in held if h]
    if not found:
        return []
    return [(min(start for start, _ in found), -(-max(end for _, end in found) // WORD) * WORD)]


def _bytes(graph: Graph, plan: Plan, name: str) -> int:
    """Of a whole value, a window's rows, a tile's channels or its rows, or scratch as it was given."""
    value = graph.value(name)
    if name in plan.words:
        return WORD * plan.words[name]
    for t in plan.tiles:
        if name in t.by_rows:
            return t.rows * value.shape[1] * value.shape[2] * value.dtype.numpy.itemsize
        if name in t.axes and name in t.inside:
            return value.size // value.shape[t.axes[name]] * t.width * value.dtype.numpy.itemsize
    return value.nbytes // value.shape[0] * plan.windows[name] if name in plan.windows else value.nbytes


def _live(plan: Plan, moment: int) -> int:
    """Bytes alive at a moment. Raises InternalError where two buffers share one."""
    places = sorted(
        (b.offset + start, b.offset + end, b.values[0])
        for b in plan.buffers
        for start, end in _extent(b, moment)
    )
    for (_, end, one), (start, _, other) in pairwise(places):
        if start < end:
            raise InternalError(f"{one} and {other} overlap at moment {moment}")
    return sum(end - start for start, end, _ in places)
