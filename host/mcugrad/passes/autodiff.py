"""Differentiate at compile time: a forward graph and the updates asked for -> forward and backward graph.

Each op's rule appends its gradient nodes; gradients that meet are summed; what no update needs is not built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcugrad import ops
from mcugrad.ir import Builder, DType, Graph, Node, ScaleRef, Value
from mcugrad.ir.graph import Array
from mcugrad.ops.op import Update
from mcugrad.ops.signature import checked

Requests = Mapping[str, bool | tuple[int, ...]]
FIRST_GROWTH = 8  # before calibration


def with_loss(graph: Graph) -> Graph:
    """Append softmax cross-entropy on the output `logits`; adds the input `label`."""
    b = Builder.extend(graph)
    b.input("label", DType.S32, (1,))
    logits = graph.value(graph.outputs["logits"])
    outs = [
        Value("loss", DType.F32, (1,)),
        Value("predicted", DType.S32, (1,)),
        Value("dlogits", DType.F32, logits.shape),
    ]
    b.node("softmax_xent", "loss", outs, (logits.name, "label"))
    return checked(b.build(logits=logits.name, loss="loss", predicted="predicted"))


def differentiate(graph: Graph, requests: Requests) -> tuple[Graph, tuple[Update, ...]]:
    """Add the backward nodes that the requested params need; `requests` maps a param to True or to the
    indices along its last axis that train. The graph must end in a loss (`with_loss`)."""
    g = _Gradients(graph, requests)
    for node in reversed(graph.nodes):
        rule = ops.get(node.op).grad
        if rule and (node.op == "softmax_xent" or g.touched(node)):
            rule(g, node)
    return checked(g.build()), tuple(g.updates)


class _Gradients:
    """The op rules' view of the graph being differentiated (ops.op.Gradients)."""

    def __init__(self, graph: Graph, requests: Requests) -> None:
        self.graph, self.requests = graph, requests
        self.builder = Builder.extend(graph)
        self.builder.nodes = []
        self.updates: list[Update] = []
        self._gradient: dict[str, str] = {}
        self._forward = {n.outs[0]: n for n in graph.nodes}
        self._after: dict[str, list[Node]] = {}
        self._needed = self._upstream()

    def _upstream(self) -> set[str]:
        needed: set[str] = set()
        for node in self.graph.nodes:
            if any(name in self.requests or name in needed for name in node.ins):
                needed |= set(node.outs)
        return needed

    def touched(self, node: Node) -> bool:
        return node.outs[0] in self._needed and node.outs[0] in self._gradient

    def value(self, name: str) -> Value:
        return self.builder.value(name)

    def of(self, name: str) -> str:
        return self._gradient[name]

    def needed(self, name: str) -> bool:
        return name in self._needed

    def trained(self, param: str) -> tuple[int, ...] | bool:
        return self.requests.get(param, False)

    def constant(self, name: str, dtype: DType, data: Array) -> str:
        return name if name in self.builder.params else self.builder.param(name, dtype, data)

    def mask(self, node: Node) -> str:
        y = self.value(node.outs[0])
        mask = Value(f"{node.layer}.mask", DType.BITS, y.shape)
        self.builder.values[mask.name] = mask
        self._forward[y.name] = replace(node, outs=(y.name, mask.name))
        return mask.name

    def gathered(self, node: Node, x: str, index: tuple[int, ...]) -> str:
        source = self.value(x)
        out = Value(f"{node.layer}.x_part", DType.S8, (*source.shape[:2], len(index)), source.quant)
        constant = self.constant(f"{node.layer}.index", DType.S32, np.array(index))
        self.builder.values[out.name] = out
        self._after.setdefault(x, []).append(Node("gather", node.layer, (out.name,), (x, constant)))
        return out.name

    def scale_state(self, name: str) -> str:
        return self.builder.param(name, DType.S16, np.array([0, FIRST_GROWTH, 0, 0]), trained=True)

    def node(self, op: str, layer: str, out: Value, ins: Sequence[str], **attrs: Any) -> str:
        return self.builder.node(op, layer, [out], ins, **attrs)

    def add(self, name: str, gradient: str) -> None:
        if name in self._gradient:
            gradient = self._sum(name, self._gradient[name], gradient)
        self._gradient[name] = gradient

    def _sum(self, name: str, a: str, b: str) -> str:
        va, vb = self.value(a), self.value(b)
        assert isinstance(va.quant, ScaleRef) and isinstance(vb.quant, ScaleRef)
        layer = f"{name}.sum{self._gradient[name].count('.sum') or ''}"
        state = self.scale_state(f"{layer}.dx_scale")
        out = Value(f"{layer}.dx", DType.S16, va.shape, ScaleRef(state, 0))
        ins = (a, b, va.quant.state, vb.quant.state, state)
        return self.node("sum_dx", name, out, ins, offset_a=va.quant.offset, offset_b=vb.quant.offset)

    def update(self, kind: str, params: Sequence[str], operands: Sequence[str], **about: Any) -> None:
        self.updates.append(Update(kind, tuple(params), tuple(operands), about))

    def build(self) -> Graph:
        backward, self.builder.nodes = self.builder.nodes, []
        for value in self.graph.inputs:
            self.builder.nodes += self._after.get(value.name, [])
        for node in self.graph.nodes:
            self.builder.nodes += [self._forward[node.outs[0]], *self._after.get(node.outs[0], [])]
        self.builder.nodes += backward
        return self.builder.build(**self.graph.outputs)
