"""Check a graph after every pass: known ops, single assignment, types, shapes, safe accumulators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mcugrad.errors import InternalError
from mcugrad.ir.graph import DType, Graph, Node, ScaleRef, Value

Signature = Callable[[Node, Sequence[Value], Sequence[Value]], str | None]


def verify(graph: Graph, signature: Signature | None = None) -> Graph:
    """Return the graph unchanged, or raise InternalError naming the node and what is wrong with it.

    signature(node, ins, outs) checks a node against its op record; None means well typed.
    """
    known = {v.name for v in graph.inputs} | set(graph.params)
    scratch: set[str] = set()
    for node in graph.nodes:
        _check_names(node, known, scratch)
        ins, outs = ([graph.value(n) for n in names] for names in (node.ins, node.outs))
        problem = signature(node, ins, outs) if signature else None
        problem = problem or _check_scales(graph, outs)
        if problem:
            raise InternalError(f"{node.op} {node.layer}: {problem}")
        known |= set(node.outs)
        scratch.add(node.work)
    missing = [f"{role} = {name}" for role, name in graph.outputs.items() if name not in known]
    if missing:
        raise InternalError(f"outputs that nothing computes: {', '.join(missing)}")
    return graph


def _check_names(node: Node, known: set[str], scratch: set[str]) -> None:
    for name in node.ins:
        if name not in known:
            raise InternalError(f"{node.op} {node.layer} reads {name} before it exists")
    for name in node.written:
        if name in known | scratch:
            raise InternalError(f"{node.op} {node.layer} writes {name}, which exists already")


def _check_scales(graph: Graph, outs: Sequence[Value]) -> str | None:
    for out in outs:
        if isinstance(out.quant, ScaleRef) and out.quant.state not in graph.params:
            return f"{out.name} refers to the scale state {out.quant.state}, which does not exist"
        if out.dtype is DType.S16 and not isinstance(out.quant, ScaleRef):
            return f"{out.name} is a gradient without a scale state"
    return None
