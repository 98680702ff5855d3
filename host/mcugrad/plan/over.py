"""Depthwise maps in a stream that lie in their operand's window: each row over the first one that it is made
of, which nothing needs any more by then. Maps with shorter rows have windows of their own: they would leave
gaps between theirs and those still needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcugrad.ir import Graph, Node
from mcugrad.ops.work import depthwise_rows
from mcugrad.plan.rows import Extent, row_bytes


@dataclass(frozen=True)
class Over:
    """source: the operand. words: of scratch that the kernel then has. most: rows of the source that a call
    may read."""

    source: str
    words: int
    most: int


def overs(graph: Graph, nodes: Sequence[Node], readers: Mapping[str, int]) -> dict[str, Over]:
    """Map -> over what it can lie. readers: of each map that gets a window."""
    found: dict[str, Over] = {}
    inside = {node.outs[0] for node in nodes} & {*readers}
    for node in (n for n in nodes if n.op == "depthwise_conv2d" and n.outs[0] in inside):
        source = node.ins[0]
        if source in inside and source not in found and readers[source] == 1:
            over = _over(graph, node)
            found |= {node.outs[0]: over} if over else {}
    return found


def _over(graph: Graph, node: Node) -> Over | None:
    x, y = node.ins[0], node.outs[0]
    words = depthwise_rows([graph.value(n) for n in node.ins], node.attrs)
    most = 4 * words // graph.value(x).shape[1]  # the portable kernel keeps a channel of them
    able = words and node.work and row_bytes(graph, x) == row_bytes(graph, y)
    return Over(x, words, most) if able else None


def joined(held: Mapping[str, tuple[Extent, ...]], over: Mapping[str, Over]) -> dict[str, tuple[Extent, ...]]:
    """A stream's held, a window's extents up to the end of those that lie in it; of these there are none."""
    found = {name: extents for name, extents in held.items() if name not in over}
    for name, o in over.items():
        found[o.source] = _both(held[o.source], held[name])
    return found


def _both(one: Sequence[Extent], other: Sequence[Extent]) -> tuple[Extent, ...]:
    ends = [{step: end for step, _, end in extents} for extents in (one, other)]
    now, found = [0, 0], list[Extent]()
    for step in sorted({*ends[0], *ends[1]}):
        now = [changes.get(step, before) for changes, before in zip(ends, now, strict=True)]
        found.append((step, 0, max(now)))
    return tuple(found)
