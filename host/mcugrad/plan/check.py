"""Proof of a plan by other means than the planner's: replay the order, byte by byte owner of the arena."""

from __future__ import annotations

import numpy as np

from mcugrad import ops
from mcugrad.errors import InternalError
from mcugrad.ir import Graph
from mcugrad.plan.memory import Plan, in_arena

FREE = -1


def check(graph: Graph, plan: Plan) -> Plan:
    """Return the plan, or raise InternalError: a node missing, repeated or too early, a value read after it
    was overwritten, a buffer outside the arena."""
    _check_order(graph, plan)
    ids = {name: k for k, name in enumerate(plan.offsets)}
    arena = np.full(plan.arena_bytes, FREE, np.int32)
    for value in graph.inputs:
        if in_arena(graph, value.name):
            _own(graph, plan, arena, value.name, ids)
    for node in plan.order:
        for name in node.ins:
            if name in ids and (_bytes(graph, plan, arena, name) != ids[name]).any():
                raise InternalError(f"{node.op} {node.layer} reads {name} after it was overwritten")
        inputs = {n for n in node.ins if n in ids}
        for name in node.outs:
            if name in ids:
                _check_alias(graph, plan, arena, node.op, name, inputs, ids)
                _own(graph, plan, arena, name, ids)
    return plan


def _check_order(graph: Graph, plan: Plan) -> None:
    """Same nodes; values before use; accesses to a trained param as in program order around each write."""
    if sorted(map(id, plan.order)) != sorted(map(id, graph.nodes)):
        raise InternalError("the order is not a permutation of the graph's nodes")
    for name in (n for n, p in graph.params.items() if p.trained):
        program, planned = (_accesses(nodes, name) for nodes in (graph.nodes, plan.order))
        if program != planned:
            raise InternalError(f"reads and writes of {name} are reordered")


def _accesses(nodes: tuple[object, ...], name: str) -> list[object]:
    """Between two writes the reads may come in any order."""
    result: list[object] = [set()]
    for node in nodes:
        if name in node.ins:  # type: ignore[attr-defined]
            op = ops.get(node.op)  # type: ignore[attr-defined]
            written = {n for n, a in zip(node.ins, op.ins, strict=False) if a.name in op.inout}  # type: ignore[attr-defined]
            if name in written:
                result += [id(node), set()]
            else:
                result[-1].add(id(node))  # type: ignore[attr-defined]
    return result


def _bytes(graph: Graph, plan: Plan, arena: np.ndarray, name: str) -> np.ndarray:  # type: ignore[type-arg]
    start, size = plan.offsets[name], graph.value(name).nbytes
    if start < 0 or start + size > plan.arena_bytes:
        raise InternalError(f"{name} lies outside the arena")
    return arena[start : start + size]


def _own(graph: Graph, plan: Plan, arena: np.ndarray, name: str, ids: dict[str, int]) -> None:  # type: ignore[type-arg]
    _bytes(graph, plan, arena, name)[:] = ids[name]


def _check_alias(  # type: ignore[no-untyped-def]
    graph: Graph, plan: Plan, arena, op: str, name: str, inputs: set[str], ids: dict[str, int]
) -> None:
    """An output may lie on an operand only where the op works in place, on its first operand, exactly."""
    below = set(np.unique(_bytes(graph, plan, arena, name)).tolist())
    for other in inputs:
        if ids[other] in below:
            same = plan.offsets[other] == plan.offsets[name] and ops.get(op).inplace
            if not same:
                raise InternalError(f"{op} writes {name} over its own operand {other}")
