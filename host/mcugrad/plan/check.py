"""Proof of a plan by other means than the planner's: replay the order, every byte of the arena owned."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mcugrad import ops
from mcugrad.errors import InternalError
from mcugrad.ir import Graph, Node
from mcugrad.ir.graph import Array
from mcugrad.plan.memory import Plan, in_arena

FREE = -1


def check(graph: Graph, plan: Plan) -> Plan:
    """Return the plan, or raise InternalError: a node missing, repeated or too early, a value read after it
    was overwritten, a buffer outside the arena."""
    _check_order(graph, plan)
    arena = _Arena(graph, plan)
    for value in graph.inputs:
        if in_arena(graph, value.name):
            arena.write(value.name)
    for node in plan.order:
        arena.run(node)
    return plan


class _Arena:
    """Which value owns each byte right now."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.offsets = graph, plan.offsets
        self.ids = {name: k for k, name in enumerate(plan.offsets)}
        self.owner = np.full(plan.arena_bytes, FREE, np.int32)

    def run(self, node: Node) -> None:
        operands = [n for n in node.ins if n in self.ids]
        for name in operands:
            if (self._bytes(name) != self.ids[name]).any():
                raise InternalError(f"{node.op} {node.layer} reads {name} after it was overwritten")
        for name in (n for n in node.outs if n in self.ids):
            self._check_alias(node, name, operands)
            self.write(name)

    def write(self, name: str) -> None:
        self._bytes(name)[:] = self.ids[name]

    def _bytes(self, name: str) -> Array:
        start, size = self.offsets[name], self.graph.value(name).nbytes
        if start < 0 or start + size > self.owner.size:
            raise InternalError(f"{name} lies outside the arena")
        return self.owner[start : start + size]

    def _check_alias(self, node: Node, name: str, operands: Iterable[str]) -> None:
        """An output may lie on an operand only where the op works in place, exactly on its first one."""
        below = set(np.unique(self._bytes(name)).tolist())
        for other in operands:
            in_place = other == node.ins[0] and self.offsets[other] == self.offsets[name]
            if self.ids[other] in below and not (in_place and ops.get(node.op).inplace):
                raise InternalError(f"{node.op} {node.layer} writes {name} over its own operand {other}")


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
