"""Partly trained weights: only the channels that train stay in RAM, the plane goes to flash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcugrad.ir import Builder, DType, Graph, Node, Value
from mcugrad.ir.graph import Array
from mcugrad.ops.op import get
from mcugrad.ops.signature import checked
from mcugrad.ops.work import pointwise

PART = ".part"


def keep_parts(graph: Graph) -> Graph:
    """The same step; an update of some input channels becomes one of a param, w.part, that holds just those.

    Pointwise convolutions and their input gradients read plane and part; what else reads the weights gets
    them merged, right before it.
    """
    b = Builder.extend(graph)
    b.nodes = []
    index = {n.ins[0]: n.ins[_arguments(n).index("index")] for n in graph.nodes if _is_partial(n)}
    for name, channels in index.items():
        part = graph.params[name].data[..., graph.params[channels].data]
        b.param(name + PART, DType.S8, part, trained=True)
        b.params[name] = replace(b.params[name], trained=False)
    for node in graph.nodes:
        w = next((name for name in node.ins if name in index), None)
        if w is None:
            b.nodes.append(node)
        elif _is_partial(node):
            b.nodes.append(_of_part(b, node))
        else:
            _reading(b, node, w, index[w])
    return checked(b.build(**graph.outputs).with_nodes(b.nodes))


def whole(graph: Graph, state: Mapping[str, Array]) -> dict[str, Array]:
    """A state by name, with whole weights in place of parts."""
    index = {n.ins[1]: n.ins[5] for n in graph.nodes if n.op == "conv2d_part"}
    index |= {n.ins[0]: n.ins[2] for n in graph.nodes if n.op == "merge"}
    found = {name: data for name, data in state.items() if not name.endswith(PART)}
    for w, channels in index.items():
        found[w] = np.array(graph.params[w].data)
        found[w][..., graph.params[channels].data] = state[w + PART]
    return found


def _arguments(node: Node) -> list[str]:
    return [arg.name for arg in get(node.op).ins[: len(node.ins)]]


def _is_partial(node: Node) -> bool:
    """Whether it moves the channels of an index only."""
    return get(node.op).phase == "update" and "index" in _arguments(node)


def _of_part(b: Builder, node: Node) -> Node:
    """sgd of the part; `coef` of a depthwise convolution belongs to its channels and is cut like them."""
    op = node.op.replace("sgd_partial", "sgd")
    ins, channels = [node.ins[0] + PART, *node.ins[1:-1]], b.params[node.ins[-1]].data
    if node.attrs["inner"]:
        coef = ins[3] + PART
        ins[3] = b.param(coef, DType.F32, b.params[ins[3]].data[channels])
    return replace(node, op=op, ins=tuple(ins))


def _reading(b: Builder, node: Node, w: str, channels: str) -> None:
    if _reads_parts(b, node):
        ins = (*node.ins, w + PART, channels)
        b.nodes.append(replace(node, op=f"{node.op}_part", ins=ins))
        return
    forward = get(node.op).phase == "forward"
    merged = Value(f"{node.layer}.w_{'merged' if forward else 'merged_dx'}", DType.S8, b.value(w).shape)
    b.node("merge" if forward else "merge_dx", node.layer, [merged], (w, w + PART, channels))
    b.nodes.append(replace(node, ins=tuple(merged.name if name == w else name for name in node.ins)))


def _reads_parts(b: Builder, node: Node) -> bool:
    """What the fast kernels for pointwise convolutions take."""
    if node.op not in ("conv2d", "conv2d_dx"):
        return False
    co, *kernel, ci = b.value(node.ins[1]).shape
    if not pointwise(kernel, node.attrs):
        return False
    if node.op == "conv2d":
        return ci % 4 == 0 and ci <= 640 and co % 2 == 0 and node.attrs["shift"] == 0
    return ci % 2 == 0 and co % 4 == 0 and co <= 640
