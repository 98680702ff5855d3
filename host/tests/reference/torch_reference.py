"""The quantised network in float64 torch: exact integer forward, exact straight-through gradients.

Written from the arithmetic's definition alone, apart from the interpreter, so that it can judge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as fn

from mcugrad.ir.graph import Graph, Node

# Maps this small make threads wait for each other: on a busy machine a hundred times slower than one.
torch.set_num_threads(1)
Float64 = NDArray[np.float64]


@dataclass
class Run:
    """Every activation by value name (float64; exact integers for int8), and the params read as leaves."""

    graph: Graph
    values: dict[str, Tensor] = field(default_factory=dict)
    leaves: dict[str, Tensor] = field(default_factory=dict)

    def get(self, name: str) -> Tensor:
        return self.values[name] if name in self.values else self.leaf(name)

    def leaf(self, name: str) -> Tensor:
        if name not in self.leaves:
            data = torch.tensor(np.asarray(self.graph.params[name].data, np.float64))
            self.leaves[name] = data.requires_grad_(True)
        return self.leaves[name]


def forward(graph: Graph, x: NDArray[np.int8]) -> Run:
    """Run the forward nodes on one int8 HWC input."""
    run = Run(graph)
    run.values[graph.inputs[0].name] = torch.tensor(x.astype(np.float64))
    for node in graph.nodes:
        if node.op in _RULES:
            run.values[node.outs[0]] = apply(run, node)
    return run


def apply(run: Run, node: Node) -> Tensor:
    """One forward node on the values of the run."""
    result: Tensor = _RULES[node.op](run, node)
    return result


def gradients(graph: Graph, x: NDArray[np.int8], label: int, names: Iterable[str]) -> dict[str, Float64]:
    """d cross-entropy / d param, in the param's own layout and units (int8 weights: per integer step)."""
    names = list(names)
    run = forward(graph, x)
    leaves = [run.leaf(name) for name in names]
    found = torch.autograd.grad(loss(run, label), leaves, allow_unused=True)
    pairs = zip(names, leaves, found, strict=True)
    return {name: (torch.zeros_like(leaf) if g is None else g).numpy() for name, leaf, g in pairs}


def activation_gradients(graph: Graph, x: NDArray[np.int8], label: int) -> dict[str, Float64]:
    """d cross-entropy / d (integer activation), for every value that depends on a param."""
    run = forward(graph, x)
    wanted = {name: v for name, v in run.values.items() if v.requires_grad}
    found = torch.autograd.grad(loss(run, label), list(wanted.values()), allow_unused=True)
    return {name: g.numpy() for name, g in zip(wanted, found, strict=True) if g is not None}


def loss(run: Run, label: int) -> Tensor:
    logits = run.values[next(n.outs[0] for n in run.graph.nodes if n.op == "linear")]
    return fn.cross_entropy(logits[None], torch.tensor([label]))


def _requant(acc: Tensor, mult: Tensor, shift: int, zero: int) -> Tensor:
    """The int32 accumulator before saturation: zero + round half up (acc * 2**shift * mult / 2**32)."""
    wide = (acc.detach().to(torch.int64) << shift) * mult.to(torch.int64)
    return ((wide + 2**31) >> 32) + zero


class _StraightThrough(torch.autograd.Function):
    """Forward: the exact integers. Backward: the gradient goes to the real value where `mask` lets it."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, integer: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return integer.clamp(-128, 127).to(real.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.saved_tensors[0], None, None


def _straight_through(real: Tensor, integer: Tensor, masked: bool) -> Tensor:
    mask = (integer >= -128) & (integer <= 127) if masked else torch.ones_like(integer, dtype=torch.bool)
    result: Tensor = _StraightThrough.apply(real, integer, mask)  # type: ignore[no-untyped-call]
    return result


def _conv(run: Run, node: Node) -> Tensor:
    a = node.attrs
    x, w, b, m = (run.get(name) for name in node.ins)
    depthwise = node.op == "depthwise_conv2d"
    kernel = w.permute(2, 0, 1)[:, None] if depthwise else w.permute(0, 3, 1, 2)
    groups = w.shape[2] if depthwise else 1
    shifted = (x - a["zero_in"]).permute(2, 0, 1)[None]
    acc = fn.conv2d(shifted, kernel, b, a["stride"], a["pad"], groups=groups)[0].permute(1, 2, 0)
    real = acc * torch.tensor(a["s_eff"])
    return _straight_through(real, _requant(acc, m.detach(), a["shift"], a["zero_out"]), masked=True)


def _add(run: Run, node: Node) -> Tensor:
    a = node.attrs
    x1, x2 = (run.get(name) for name in node.ins)
    i1, i2 = (x.detach().to(torch.int64) for x in (x1, x2))
    integer = (i1 * a["m1"] + i2 * a["m2"] + a["c"]) >> a["sh"]
    return _straight_through(x1 * a["ratio1"] + x2 * a["ratio2"], integer, masked=False)


def _avgpool(run: Run, node: Node) -> Tensor:
    a, x = node.attrs, run.get(node.ins[0])
    acc = (x - a["zero_in"]).sum((0, 1))
    real = acc * (a["ratio"] / (x.shape[0] * x.shape[1]))
    integer = _requant(acc, torch.tensor(a["mult"]), a["shift"], a["zero_out"])
    return _straight_through(real, integer, masked=False)


def _linear(run: Run, node: Node) -> Tensor:
    x, w, b = (run.get(name) for name in node.ins)
    return w @ ((x.flatten() - node.attrs["zero"]) * node.attrs["scale"]) + b


_RULES: Mapping[str, Any] = {
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "add": _add,
    "avgpool": _avgpool,
    "linear": _linear,
}
