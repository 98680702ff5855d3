"""Dynamic sparse gradients: weight gradients of all output channels -> of those that the run chooses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcugrad.errors import UserError
from mcugrad.ir import Builder, DType, Graph, Node, Value
from mcugrad.ops.dynamic import ONE, active_count
from mcugrad.ops.signature import checked
from mcugrad.passes.schemes import Shares

WORST = "worst_loss"  # the trained param with the largest loss so far
_SHARE = "active_share"
_GRADIENTS = ("conv2d_dw", "depthwise_conv2d_dw")
_UPDATES = ("sgd", "sgd_partial")


def make_dynamic(graph: Graph, shares: Shares | None) -> Graph:
    """A training graph whose weight gradients are computed and applied for the output channels with the
    largest gradients only; how many follows the loss, from the least to the most share of each layer's.

    UserError where the weights are not updated in mode 8.8. Without shares: the same graph.
    """
    if shares is None or not any(n.op in _GRADIENTS for n in graph.nodes):
        return graph
    rewriting = _Rewriting(graph, *(round(share * ONE) for share in shares))
    for node in graph.nodes:
        rewriting.append(node)
    b = rewriting.builder
    return checked(b.build(**graph.outputs).with_nodes(b.nodes))


class _Rewriting:
    """Nodes in, nodes out; remembers what makes each rewritten gradient's channels active."""

    def __init__(self, graph: Graph, least: int, most: int) -> None:
        self.builder, self._least, self._most = Builder.extend(graph), least, most
        self.builder.nodes = []
        self._loss = graph.outputs["loss"]
        self._active: dict[str, str] = {}  # weight gradient -> active channels

    def append(self, node: Node) -> None:
        if node.op in _GRADIENTS:
            self._gradient(node)
        elif any(name in self._active for name in node.ins):
            self._update(node)
        else:
            self.builder.nodes.append(node)

    def _gradient(self, node: Node) -> None:
        da, x = node.ins
        (dw,) = node.outs
        active = self._choose(node.layer, da)
        depthwise = node.op == "depthwise_conv2d_dw"
        ins = (self._gather("gather_active_dx", node.layer, da, active), x, active)
        if depthwise:
            ins = (ins[0], self._gather("gather_active", node.layer, x, active), active)
        value, count = self.builder.value(dw), self.builder.value(active).size - 1
        shape = (*value.shape[:-1], count) if depthwise else (count, *value.shape[1:])
        self.builder.values[dw] = replace(value, shape=shape)
        self.builder.nodes.append(Node(f"{node.op}_dynamic", node.layer, (dw,), ins, node.attrs))
        self._active[dw] = active

    def _choose(self, layer: str, da: str) -> str:
        channels = self.builder.value(da).shape[2]
        norms, most = Value(f"{layer}.norms", DType.S32, (channels,)), active_count(self._most, channels)
        active = Value(f"{layer}.active", DType.S32, (1 + most,))
        ins = (self.builder.node("channel_norms", layer, [norms], (da,)), self._share())
        return self.builder.node("top_channels", layer, [active], ins, most=most)

    def _share(self) -> str:
        if _SHARE not in self.builder.values:
            worst = self.builder.param(WORST, DType.F32, np.zeros(1), trained=True)
            share, ends = Value(_SHARE, DType.S32, (1,)), {"least": self._least, "most": self._most}
            self.builder.node("active_share", self._loss, [share], (self._loss, worst), **ends)
        return _SHARE

    def _gather(self, op: str, layer: str, name: str, active: str) -> str:
        source = self.builder.value(name)
        shape = (*source.shape[:2], self.builder.value(active).size - 1)
        tag = "da" if op.endswith("dx") else "x"
        part = Value(f"{layer}.active_{tag}", source.dtype, shape, source.quant)
        return self.builder.node(op, layer, [part], (name, active))

    def _update(self, node: Node) -> None:
        if node.op not in _UPDATES:
            raise UserError(
                f"dynamic gradients cannot be applied by {node.op}", "--scheme dynamic", "use --update 8.8"
            )
        ins = (*node.ins[:6], self._active[node.ins[2]], *node.ins[6:])
        self.builder.nodes.append(replace(node, op="sgd_dynamic", ins=ins))
