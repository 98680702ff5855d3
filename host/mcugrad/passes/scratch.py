"""Kernels' scratch memory as values, so that the planner places it like all others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mcugrad.ir import Builder, DType, Graph, Node, Value
from mcugrad.ops.op import get
from mcugrad.ops.signature import checked


def with_scratch(graph: Graph) -> Graph:
    """The same graph, each node with the least scratch that its kernel needs for its shapes."""
    b = Builder.extend(graph)
    b.nodes = [_with_work(b, node) for node in graph.nodes]
    return checked(b.build(**graph.outputs))


def tightened(graph: Graph, nodes: Collection[Node]) -> Graph | None:
    """The same with less scratch for those of the nodes that can do with less, slower; None if none can."""
    words = {}
    for node in nodes:
        work = get(node.op).work
        least = work([graph.value(n) for n in node.ins], node.attrs).tight if node.work and work else 0
        if 0 < least < graph.value(node.work).size:
            words[node.work] = least
    if not words:
        return None
    b = Builder.extend(graph)
    b.values |= {name: replace(b.values[name], shape=(least,)) for name, least in words.items()}
    return b.build(**graph.outputs)


def _with_work(b: Builder, node: Node) -> Node:
    work = get(node.op).work
    words = work([b.value(n) for n in node.ins], node.attrs) if work else None
    if not words or not words.least:
        return node
    value = Value(f"{node.layer}.{node.op}_work", DType.S32, (words.least,))
    b.values[value.name] = value
    return replace(node, work=value.name)
