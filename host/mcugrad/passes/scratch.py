"""Kernels' scratch memory as values, so that the planner places it like all others."""

from __future__ import annotations

from dataclasses import replace

from mcugrad.ir import Builder, DType, Graph, Node, Value
from mcugrad.ops.op import get
from mcugrad.ops.signature import checked


def with_scratch(graph: Graph) -> Graph:
    """The same graph, each node with the least scratch that its kernel needs for its shapes."""
    b = Builder.extend(graph)
    b.nodes = [_with_work(b, node) for node in graph.nodes]
    return checked(b.build(**graph.outputs))


def _with_work(b: Builder, node: Node) -> Node:
    work = get(node.op).work
    words = work([b.value(n) for n in node.ins], node.attrs) if work else None
    if not words or not words.least:
        return node
    value = Value(f"{node.layer}.{node.op}_work", DType.S32, (words.least,))
    b.values[value.name] = value
    return replace(node, work=value.name)
