"""Saved inputs of pointwise weight gradients, channel by channel: then nobody has to take them apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mcugrad.ir import Builder, Graph, Node
from mcugrad.ops.fused import PAIRS, by_planes
from mcugrad.ops.signature import checked

FUSED = {pair.fused for pair in PAIRS}
X = 6  # its place among the operands


def as_planes(graph: Graph) -> Graph:
    """The same step; what a gather saves for such a gradient alone it saves as [K,H,W]."""
    readers = Counter(name for node in graph.nodes for name in node.ins)
    gathered = {node.outs[0] for node in graph.nodes if node.op == "gather" and readers[node.outs[0]] == 1}
    wanted = {n.ins[X] for n in graph.nodes if n.op in FUSED and n.ins[X] in gathered and _fits(graph, n)}
    b = Builder.extend(graph)
    b.nodes = [_changed(b, node, wanted) for node in graph.nodes]
    return checked(b.build(**graph.outputs))


def _fits(graph: Graph, node: Node) -> bool:
    return by_planes([graph.value(name) for name in node.ins], node.attrs)


def _changed(b: Builder, node: Node, wanted: set[str]) -> Node:
    if node.op == "gather" and node.outs[0] in wanted:
        x = b.values[node.outs[0]]
        height, width, channels = x.shape
        b.values[x.name] = replace(x, shape=(channels, height, width))
        return replace(node, op="gather_planes")
    if node.op in FUSED and node.ins[X] in wanted:
        return replace(node, attrs={**node.attrs, "planes": 1})
    return node
