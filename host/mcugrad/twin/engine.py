"""Execute a training graph in torch, for a batch of samples at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mcugrad.errors import InternalError
from mcugrad.ir import DType, Graph, Node, ScaleRef
from mcugrad.ir.graph import Array
from mcugrad.ops.fixed import pack_bits
from mcugrad.ops.op import get, scale_states
from mcugrad.twin import update
from mcugrad.twin.backward import BACKWARD
from mcugrad.twin.dynamic import DYNAMIC, DYNAMIC_UPDATE
from mcugrad.twin.fixed import BITS, EXP
from mcugrad.twin.forward import FORWARD
from mcugrad.twin.fused import FUSED, fused
from mcugrad.twin.real import REAL
from mcugrad.twin.update import UNIT, UPDATE, Velocity

Env = dict[str, Tensor]
Samples = Array | Mapping[str, Array]
GRADIENTS = ("integer", "fp32")
VELOCITY = ".velocity"
_SCALED = ("clamp_dx", "scale_dx", "avgpool_dx")
_HELD = {
    DType.S8: torch.float32,
    DType.S16: torch.float64,
    DType.S32: torch.float64,
    DType.F32: torch.float32,
}


class Twin:
    """A training graph and its state.

    A step whose loss is not finite changes nothing, as on the board.
    With one sample a step and `gradients` "integer", it is bit for bit interp.run.
    With more, each sample's gradients have exponents of their own, all from the growth that the step began
    with; their mean, taken in float64 before it is rounded to float32, moves the weights once; of the growths
    found the largest goes on, and `saturated` counts steps in which any sample clipped. So N copies of one
    sample do what that sample alone does.
    gradients "fp32": float gradients on the same int8 forward.
    qas=False: without the division by the scales' squares.
    momentum: of the update, which no board has; a batch is what accumulating its gradients gives.
    """

    def __init__(
        self,
        graph: Graph,
        device: str = "cpu",
        gradients: str = "integer",
        qas: bool = True,
        momentum: float = 0.0,
    ) -> None:
        if gradients not in GRADIENTS:
            raise InternalError(f"gradients {gradients!r} are not of {GRADIENTS}")
        self.graph, self._device, self._real = graph, torch.device(device), gradients == "fp32"
        self._velocity = Velocity(momentum)
        table = FORWARD | BACKWARD | UPDATE | DYNAMIC | DYNAMIC_UPDATE | (REAL if self._real else {})
        self._table = table | fused(table)
        self._states = scale_states(graph)
        self._params = {name: self._hold(name, p.data) for name, p in graph.params.items()}
        if not qas:
            self._drop_scaling()
        self._attrs = [self._attributes(node) for node in graph.nodes]
        self._forward = [i for i, n in enumerate(graph.nodes) if get(n.op).phase == "forward"]

    def step(self, x: Samples, labels: Array, lr: float) -> tuple[Array, Array]:
        """Train on int8 samples [N,H,W,C] (or a rest's inputs by name) -> losses f32[N], predictions."""
        return self._results(self._step(x, labels, lr, keep=False))

    def forward(self, x: Samples, labels: Array) -> tuple[Array, Array]:
        """Losses and predictions; changes nothing."""
        env = self._environment(x, labels)
        self._run(self._forward, env, keep=False)
        return self._results(env)

    def infer(self, x: Samples) -> dict[str, Array]:
        """The graph's outputs, by value name, of a graph without label."""
        env = self._environment(x)
        self._run(self._forward, env, keep=False)
        return {name: self._array(name, env[name]) for name in self.graph.outputs.values()}

    def trace(self, x: Samples, labels: Array, lr: float) -> dict[str, Array]:
        """One training step that returns every value of the graph, samples first."""
        env = self._step(x, labels, lr, keep=True)
        return {name: self._array(name, env[name]) for n in self.graph.nodes for name in n.outs}

    def state(self) -> dict[str, Array]:
        """A copy of every trained param; velocities beside them."""
        trained = {n: self._array(n, self._params[n]) for n, p in self.graph.params.items() if p.trained}
        return trained | {n + VELOCITY: v.cpu().numpy().copy() for n, v in self._velocity.kept.items()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Go on from what `state` gave."""
        for name, data in state.items():
            if name.endswith(VELOCITY):
                self._velocity.kept[name.removesuffix(VELOCITY)] = torch.tensor(data, device=self._device)
            else:
                self._params[name] = self._hold(name, data)

    @torch.inference_mode()
    def _step(self, x: Samples, labels: Array, lr: float, keep: bool) -> Env:
        env = self._environment(x, labels)
        env["lr"] = torch.tensor([lr], dtype=torch.float32, device=self._device)
        self._run(range(len(self.graph.nodes)), env, keep)
        if bool(env[self.graph.outputs["loss"]].isfinite().all()):
            self._commit(env)
        return env

    def _commit(self, env: Env) -> None:
        for name, p in self.graph.params.items():
            if p.trained and name not in self._states:
                self._params[name] = env[name]
            elif p.trained and not self._real:
                self._params[name] = _agreed(env[name])
        self._velocity.commit()

    @torch.inference_mode()
    def _run(self, chosen: Iterable[int], env: Env, keep: bool) -> None:
        chosen = list(chosen)
        last = {name: i for i in chosen for name in chain(self.graph.nodes[i].ins, self.graph.nodes[i].outs)}
        kept = set(self.graph.outputs.values()) | set(self.graph.params)
        # cuDNN may choose Winograd or FFT, whose sums are not exact.
        with torch.backends.cudnn.flags(enabled=False, allow_tf32=False):
            for i in chosen:
                node = self.graph.nodes[i]
                self._execute(node, self._attrs[i], env)
                for name in () if keep else {*node.ins, *node.outs} - kept:
                    if last[name] == i:
                        env.pop(name, None)

    def _execute(self, node: Node, attrs: dict[str, Any], env: Env) -> None:
        if get(node.op).phase == "update":
            attrs = attrs | {"smoothing": self._smoothing(node)}
        results = self._table[node.op](*(env[name] for name in node.ins), **attrs)
        op = get(node.op)
        written = [name for name, arg in zip(node.ins, op.ins, strict=False) if arg.name in op.inout]
        env.update(zip(node.outs, results, strict=False))
        env.update(zip(written, results[len(op.outs) :], strict=True))

    def _smoothing(self, node: Node) -> update.Smoothing:
        return lambda operand, u: self._velocity(node.ins[operand], u)

    def _environment(self, x: Samples, labels: Array | None = None) -> Env:
        samples = x if isinstance(x, Mapping) else {self.graph.inputs[0].name: x}
        held = {name: torch.tensor(data, device=self._device).float() for name, data in samples.items()}
        count = len(next(iter(held.values())))
        states = {name: self._params[name].expand(count, 4) for name in self._states}
        if self._real:
            states = {name: torch.zeros_like(s) for name, s in states.items()}
        env = self._params | states | held
        if labels is not None:
            env["label"] = torch.as_tensor(np.asarray(labels, np.int64), device=self._device)[:, None]
        return env

    def _attributes(self, node: Node) -> dict[str, Any]:
        attrs, value = {**node.attrs, "masked": len(node.outs) > 1}, self.graph.value
        if self._real and node.op in _SCALED:
            before, after = value(node.ins[0]).quant, value(node.outs[0]).quant
            assert isinstance(before, ScaleRef) and isinstance(after, ScaleRef)
            attrs["k"] = before.offset - after.offset
        return attrs | {"offset": 0} if self._real else attrs

    def _drop_scaling(self) -> None:
        """Plain gradients of the integers; dead channels stay out."""
        for node in self.graph.nodes:
            if node.op.startswith("sgd") or node.op in FUSED:
                coef = self._params[node.ins[3]]
                self._params[node.ins[3]] = torch.where(coef > 0, float(UNIT), 0.0)

    def _hold(self, name: str, data: Array) -> Tensor:
        value, indexed = self.graph.params[name].value, name in self._states or name.endswith(".index")
        kind = torch.int64 if indexed else _HELD[value.dtype]
        return torch.from_numpy(np.array(data)).to(self._device, kind)

    def _array(self, name: str, tensor: Tensor) -> Array:
        kind, data = self.graph.value(name).dtype, tensor.cpu().numpy()
        if kind is DType.BITS:
            return np.stack([pack_bits(sample) for sample in data])
        real = self._real and kind in (DType.S16, DType.S32) and name in self.graph.values
        return np.array(data, np.float32 if real else kind.numpy)

    def _results(self, env: Env) -> tuple[Array, Array]:
        loss, predicted = (self.graph.outputs[name] for name in ("loss", "predicted"))
        return self._array(loss, env[loss])[:, 0], self._array(predicted, env[predicted])[:, 0]


def chosen(device: str) -> str:
    """The device, for "auto" a GPU where there is one."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _agreed(states: Tensor) -> Tensor:
    """The samples' scale states -> the next step's: largest growth; exp and bits are the last sample's."""
    new: Tensor = states.amax(0)
    new[EXP], new[BITS] = states[-1, EXP], states[-1, BITS]
    return new
