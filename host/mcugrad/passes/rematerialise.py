"""Make a value a second time where it is read last, instead of keeping it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcugrad.ir import Builder, Graph, Node
from mcugrad.ops.signature import checked

AGAIN = ".again"


def rematerialise(graph: Graph, chain: Sequence[Node], reader: Node) -> Graph:
    """The same step, in which copies of the chain's nodes, right before `reader`, make its first operand.

    chain: nodes of which each makes the first operand of the next one, the last one that of the reader.
    """
    b = Builder.extend(graph)
    b.nodes = []
    for node in graph.nodes:
        if node is reader:
            source = chain[0].ins[0]
            for link in chain:
                source = _again(b, link, source)
            node = replace(node, ins=(source, *node.ins[1:]))
        b.nodes.append(node)
    return checked(b.build(**graph.outputs).with_nodes(b.nodes))


def _again(b: Builder, node: Node, source: str) -> str:
    out = b.value(node.outs[0])
    ins = (source, *node.ins[1:])
    return b.node(node.op, node.layer, [replace(out, name=out.name + AGAIN)], ins, **node.attrs)
