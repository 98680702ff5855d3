"""Proof of a plan by other means than the planner's: replay the order, every byte of the arena owned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mcugrad import ops
from mcugrad.errors import InternalError
from mcugrad.ir import DType, Graph, Node
from mcugrad.ir.graph import Array
from mcugrad.ops.op import shared
from mcugrad.ops.work import depthwise_rows
from mcugrad.plan.memory import Plan
from mcugrad.plan.recount import needed, recount
from mcugrad.plan.stream import FEED, Step, Stream

FREE = -1
ROWS = 16  # bits of a row's number


def check(graph: Graph, plan: Plan) -> Plan:
    """Return the plan, or raise InternalError: a node missing, repeated or too early, a value, or a row
    of one, read after it was overwritten or before it was made, and all that `recount` finds."""
    _check_order(graph, plan)
    recount(graph, plan)
    arena = _Arena(graph, plan)
    for value in graph.inputs:
        if value.name in arena.offsets and value.name not in plan.windows:
            arena.write(value.name)
    streams = {s.first: s for s in plan.streams}
    streamed = {i for s in plan.streams for i in range(s.first, s.last + 1)}
    for i, node in enumerate(plan.order):
        if i in streams:
            arena.stream(streams[i], plan.order)
        elif i not in streamed:
            arena.run(node)
    return plan


class _Arena:
    """Which row of which value each byte holds right now."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.offsets, self.windows = graph, plan.offsets, plan.windows
        self.tiled = {name: t for t in plan.tiles for name in t.inside}
        self.given = {name: 4 * words for name, words in plan.words.items()}
        self.ids = {name: k for k, name in enumerate(plan.offsets)}
        self.owner = np.full(plan.arena_bytes, FREE, np.int64)

    def run(self, node: Node) -> None:
        operands = [n for n in node.ins if n in self.ids]
        for name in operands:
            if (self._bytes(name) != self._rows(name)).any():
                raise InternalError(f"{node.op} {node.layer} reads {name} after it was overwritten")
        for name in (n for n in node.written if n in self.ids):
            self._check_alias(node, name, operands)
            self.write(name)

    def stream(self, stream: Stream, order: Sequence[Node]) -> None:
        """Every call reads just the rows that its rows of output need, and makes the next ones."""
        outs = {i: order[i].outs[0] for i in range(stream.first, stream.last + 1)} | {FEED: stream.feed}
        made = dict.fromkeys(outs, 0)
        for step in stream.steps:
            name, row = outs[step.node], made[step.node]
            over = step.node != FEED and self._over_rows(order[step.node], step)
            if row + step.rows > self.graph.value(name).shape[0]:
                raise InternalError(f"a stream makes more rows of {name} than it has")
            scratch = order[step.node].work if step.node != FEED else ""
            self._move(name, step, over)
            self._use(scratch)
            if step.node != FEED:
                self._read(order[step.node], step, row)
            size = self._row_bytes(name)
            rows = self._rows(name)[row * size :][: step.rows * size]
            self.owner[self._span(name, step.to, step.rows)] = rows
            self._use(scratch)
            made[step.node] += step.rows
        for name in (outs[i] for i in made if i != FEED):
            if name not in self.windows and (self._bytes(name) != self._rows(name)).any():
                raise InternalError(f"{name} is not whole after its stream")
        if stream.feed and made[FEED] != self.graph.value(stream.feed).shape[0]:
            raise InternalError(f"a stream leaves rows of {stream.feed} untaken")

    def _use(self, scratch: str) -> None:
        """What lay there is lost, be it an operand, before it is read, or the result."""
        if scratch:
            self.write(scratch)

    def _over_rows(self, node: Node, step: Step) -> bool:
        """Whether a kernel that can do so writes its rows from where the window that they need begins, which
        it has read by then, pixels upon pixels."""
        if node.op != "depthwise_conv2d":
            return False
        x, y = node.ins[0], node.outs[0]
        begins = self.offsets[x] + (step.ins[0] - step.pad) * self._row_bytes(x)
        words = depthwise_rows([self.graph.value(n) for n in node.ins], node.attrs)
        room, pixels = self.given.get(node.work, 0), step.rows_in * self.graph.value(x).shape[1]
        able = self._row_bytes(x) == self._row_bytes(y) and 0 < 4 * words <= room and pixels <= room
        return able and begins == self.offsets[y] + step.to * self._row_bytes(y)

    def _move(self, name: str, step: Step, over: bool) -> None:
        """The rows still needed go to the window's start, and the step's own are written over."""
        if step.drop:
            moved = self.owner[self._span(name, step.drop, step.to)].copy()
            self.owner[self._span(name, 0, step.to)] = moved
        if not over:
            self.owner[self._span(name, step.to, step.rows)] = FREE

    def _read(self, node: Node, step: Step, row: int) -> None:
        height = self.graph.value(node.ins[0]).shape[0]
        first, last = needed(self.graph, node, row, row + step.rows - 1)
        low, high = max(first, 0), min(last + 1, height)
        if (step.pad, step.rows_in) != (max(-first, 0), max(high - low, 0)):
            raise InternalError(
                f"{node.op} {node.layer} sees {step.rows_in} rows under {step.pad} of padding"
            )
        for name, at in zip((n for n in node.ins if n in self.ids), step.ins, strict=True):
            found = self.owner[self._span(name, at, step.rows_in)]
            if (found != self._rows(name)[low * self._row_bytes(name) :][: found.size]).any():
                raise InternalError(f"{node.op} {node.layer} reads rows of {name} that are not there")

    def write(self, name: str) -> None:
        self._bytes(name)[:] = self._rows(name)

    def _span(self, name: str, row: int, rows: int) -> slice:
        """Bytes of some rows of a value's place."""
        size, start = self._row_bytes(name), self.offsets[name]
        if row < 0 or row + rows > self.windows.get(name, self.graph.value(name).shape[0]):
            raise InternalError(f"{name} leaves its window")
        return slice(start + row * size, start + (row + rows) * size)

    def _row_bytes(self, name: str) -> int:
        value = self.graph.value(name)
        return value.nbytes // value.shape[0]

    def _rows(self, name: str) -> Array:
        """What the bytes of the whole value hold: its number, and the row of a map."""
        value = self.graph.value(name)
        is_map = value.dtype is DType.S8 and len(value.shape) == 3
        size = self._size(name)
        rows = np.arange(size) // self._row_bytes(name) if is_map else 0
        return np.full(size, self.ids[name] << ROWS) + rows

    def _bytes(self, name: str) -> Array:
        start, size = self.offsets[name], self._size(name)
        size = self.windows[name] * self._row_bytes(name) if name in self.windows else size
        if start < 0 or start + size > self.owner.size:
            raise InternalError(f"{name} lies outside the arena")
        return self.owner[start : start + size]

    def _size(self, name: str) -> int:
        """Bytes of the whole value, of its part of a tile, or of what it was given."""
        t, value = self.tiled.get(name), self.graph.value(name)
        if t and name in t.by_rows:
            return value.nbytes // value.shape[0] * t.rows
        size = self.given.get(name, value.nbytes)
        return size // t.channels * t.width if t and name in t.axes else size

    def _check_alias(self, node: Node, name: str, operands: Iterable[str]) -> None:
        """An output may lie on an operand only where the op works in place, exactly on its first one."""
        below = set(np.unique(self._bytes(name) >> ROWS).tolist())
        for other in operands:
            if self.ids[other] in below and not (other == node.ins[0] and self._in_place(node, name)):
                raise InternalError(f"{node.op} {node.layer} writes {name} over its own operand {other}")

    def _in_place(self, node: Node, name: str) -> bool:
        """Whether an output lies on the first operand as the op allows."""
        place, behind = shared(self.graph, node), self.offsets[name] - self.offsets[node.ins[0]]
        if place == "end":
            behind += self._size(name) - self._size(node.ins[0])
        again = name in self.tiled and node.ins[0] not in self.tiled  # by the next tile
        return bool(place) and name == node.outs[0] and behind == 0 and not again


def _check_order(graph: Graph, plan: Plan) -> None:
    """The same nodes, each once; reads and writes of trained params in program order around each write."""
    if sorted(map(id, plan.order)) != sorted(map(id, graph.nodes)):
        raise InternalError("the order is not a permutation of the graph's nodes")
    for name in (n for n, p in graph.params.items() if p.trained):
        if _epochs(graph.nodes, name) != _epochs(plan.order, name):
            raise InternalError(f"reads and writes of {name} are reordered")


def _epochs(nodes: Iterable[Node], name: str) -> list[set[int]]:
    """The param's accesses: sets of reads, which may come in any order, between single writes."""
    epochs: list[set[int]] = [set()]
    for node in (n for n in nodes if name in n.ins):
        writes = any(arg.name in ops.get(node.op).inout for arg in _args(node, name))
        if writes:
            epochs += [{id(node)}, set()]
        else:
            epochs[-1].add(id(node))
    return epochs


def _args(node: Node, name: str) -> list[ops.op.Arg]:
    return [arg for operand, arg in zip(node.ins, ops.get(node.op).ins, strict=False) if operand == name]
