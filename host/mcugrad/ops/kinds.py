"""What sort of work a node is."""

from __future__ import annotations

from mcugrad.ir import Graph, Node


def kind(graph: Graph, node: Node) -> str:
    """Nodes of one kind run the same code: op, kernel size, stride, whether a mask is written, and whether a
    gradient comes from an average pool, whose pixels are equal."""
    words = [node.op]
    kernel = _kernel(graph, node)
    if kernel:
        words.append("x".join(map(str, kernel)))
    if node.attrs.get("stride", 1) > 1:
        words.append(f"s{node.attrs['stride']}")
    if node.op in ("conv2d", "depthwise_conv2d") and len(node.outs) > 1:
        words.append("masked")
    if node.op == "conv2d_dx" and _pooled(graph, node):
        words.append("pooled")
    return " ".join(words)


def _pooled(graph: Graph, node: Node) -> bool:
    makers = {name: n for n in graph.nodes for name in n.outs}
    maker = makers.get(node.ins[0])
    while maker and maker.op in ("clamp_dx", "scale_dx"):
        maker = makers.get(maker.ins[0])
    return maker is not None and maker.op == "avgpool_dx"


def _kernel(graph: Graph, node: Node) -> tuple[int, ...]:
    if not node.op.startswith(("conv2d", "depthwise")) or node.op == "conv2d_db":
        return ()
    if "kernel" in node.attrs:
        return tuple(node.attrs["kernel"])
    shape = graph.value(node.ins[1]).shape
    return shape[1:3] if node.op.startswith("conv2d") else shape[:2]
