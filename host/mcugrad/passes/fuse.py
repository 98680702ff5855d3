"""Weight gradients that only an update reads -> one node that makes and consumes them block by block."""

from __future__ import annotations

from collections import Counter

from mcugrad.ir import Builder, Graph, Node
from mcugrad.ops.fused import PAIRS
from mcugrad.ops.signature import checked

_FUSED = {(p.gradient, p.update): p.fused for p in PAIRS}


def fuse(graph: Graph) -> Graph:
    """The same step; each fused node stands where the update stood, after all that reads the old weights."""
    made = {name: node for node in graph.nodes for name in node.outs}
    readers = Counter(name for node in graph.nodes for name in node.ins)
    b = Builder.extend(graph)
    b.nodes, gone = [], set[str]()
    for node in graph.nodes:
        gradient = made.get(node.ins[2]) if len(node.ins) > 2 else None
        if gradient and (gradient.op, node.op) in _FUSED and readers[node.ins[2]] == 1:
            gone |= set(gradient.outs)
            _append(b, gradient, node)
        else:
            b.nodes.append(node)
    kept = [node for node in b.nodes if not gone & set(node.outs)]
    return checked(b.build(**graph.outputs).with_nodes(kept))


def _append(b: Builder, gradient: Node, update: Node) -> None:
    w, rest, _, *others = update.ins
    da, x, *active = gradient.ins
    ins = (w, rest, da, *others[:3], x, *active)
    b.node(_FUSED[gradient.op, update.op], update.layer, [], ins, **gradient.attrs, **update.attrs)
