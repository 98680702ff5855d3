"""Rows of maps: which nodes can work by them, and which rows of its operands a node needs."""

from __future__ import annotations

from dataclasses import dataclass

from mcugrad.ir import Graph, Node

OPS = ("conv2d", "depthwise_conv2d", "add")
Extent = tuple[int, int, int]  # from a step on: first row and end


@dataclass(frozen=True)
class Reach:
    """Which rows of its operands a node needs."""

    kernel: int
    stride: int
    pad: int
    height: int

    @classmethod
    def of(cls, graph: Graph, node: Node) -> Reach:
        height = graph.value(node.ins[0]).shape[0]
        if node.op == "add":
            return cls(1, 1, 0, height)
        kernel = graph.value(node.ins[1]).shape[1 if node.op == "conv2d" else 0]
        return cls(kernel, node.attrs["stride"], node.attrs["pad"], height)

    def start(self, row: int) -> int:
        """The first row that output row `row` and those after it need."""
        return min(max(row * self.stride - self.pad, 0), self.height)

    def end(self, row: int) -> int:
        """One past the last row that output row `row` needs."""
        return min(max(row * self.stride - self.pad + self.kernel, 0), self.height)

    def above(self, row: int) -> int:
        """Rows of padding above the window of output row `row`."""
        return max(self.pad - row * self.stride, 0)


def streamable(graph: Graph, node: Node) -> bool:
    """Whether the kernel works row by row and writes nothing but its map."""
    if node.op not in OPS or len(node.outs) != 1:
        return False
    return all(len(graph.value(n).shape) == 3 for n in (*node.outs, *maps(graph, node)))


def maps(graph: Graph, node: Node) -> tuple[str, ...]:
    """The operands that are maps."""
    return tuple(n for n in node.ins if n not in graph.params)


def row_bytes(graph: Graph, name: str) -> int:
    _, width, channels = graph.value(name).shape
    return width * channels
