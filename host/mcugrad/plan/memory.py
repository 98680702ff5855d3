"""Give every buffer an offset in the arena: lifetimes, buffers shared in place, largest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcugrad import ops
from mcugrad.ir import Graph, Node, Value
from mcugrad.plan.schedule import Order, orders

ALIGN = 4  # the kernels load words


@dataclass(frozen=True)
class Buffer:
    """Bytes of the arena that hold one or more values (in place) from node `first` to node `last`."""

    offset: int
    size: int
    first: int
    last: int
    values: tuple[str, ...]

    def overlaps(self, other: Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """A node order and a place for every value. `bound` = the largest sum of live bytes, below which no
    placement of this order can go."""

    order: Order
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    bound: int

    @property
    def offsets(self) -> Mapping[str, int]:
        return {name: b.offset for b in self.buffers for name in b.values}


def plan(graph: Graph) -> Plan:
    """The best of the candidate orders, each placed greedily."""
    return min((place(graph, order) for order in orders(graph)), key=lambda p: p.arena_bytes)


def place(graph: Graph, order: Order) -> Plan:
    """Offsets for one order: largest buffer first, each at the lowest free offset."""
    placed: list[Buffer] = []
    for b in sorted(_buffers(graph, order), key=lambda b: (-b.size, b.first, b.values)):
        placed.append(_lowest(b, [p for p in placed if p.overlaps(b)]))
    placed.sort(key=lambda b: (b.first, b.offset))
    total = max((b.offset + b.size for b in placed), default=0)
    return Plan(order, tuple(placed), _round(total), live_bound(placed, len(order)))


def live_bound(buffers: list[Buffer], steps: int) -> int:
    return max((sum(b.size for b in buffers if b.first <= i <= b.last) for i in range(steps)), default=0)


def in_arena(graph: Graph, name: str) -> bool:
    """Scalars that are arguments or results of the step function live with the caller."""
    scalar = name in graph.outputs.values() or graph.value(name) in graph.inputs
    return name not in graph.params and not (scalar and graph.value(name).size == 1)


def _lowest(b: Buffer, others: list[Buffer]) -> Buffer:
    offset = 0
    for other in sorted(others, key=lambda o: o.offset):
        if offset + b.size <= other.offset:
            break
        offset = max(offset, other.offset + other.size)
    return Buffer(offset, b.size, b.first, b.last, b.values)


def _buffers(graph: Graph, order: Order) -> list[Buffer]:
    """Lifetimes; an in-place node whose first operand dies there passes its buffer on."""
    last = {name: i for i, node in enumerate(order) for name in node.ins}
    owner: dict[str, str] = {}
    spans: dict[str, tuple[int, int, int, tuple[str, ...]]] = {}

    def define(value: Value, i: int, node: Node | None) -> None:
        end = max(last.get(value.name, i), i)
        source = node.ins[0] if node and ops.get(node.op).inplace else ""
        if source in owner and last[source] == i and graph.value(source).nbytes == value.nbytes:
            home = owner[source]
            size, first, _, names = spans[home]
            spans[home] = (size, first, end, (*names, value.name))
        else:
            home = value.name
            spans[home] = (_round(value.nbytes), max(i, 0), end, (value.name,))
        owner[value.name] = home

    for value in graph.inputs:
        if in_arena(graph, value.name):
            define(value, 0, None)
    for i, node in enumerate(order):
        for value in (graph.value(n) for n in node.outs if in_arena(graph, n)):
            define(value, i, node)
    return [Buffer(0, size, first, end, names) for size, first, end, names in spans.values()]


def _round(n: int) -> int:
    return -(-n // ALIGN) * ALIGN
