"""What several tests need: a training graph of a forward graph, and its gradients out of an environment."""

from __future__ import annotations

import numpy as np

from mcugrad import interp, ops
from mcugrad.ir import Graph, Node
from mcugrad.ir.graph import Array


def settled(graph: Graph, samples: list[tuple[Array, int]]) -> interp.Env:
    """The initial state with the scale states that a few steps at learning rate 0 leave."""
    state = interp.initial_state(graph)
    for x, label in samples:
        _, state = interp.run(graph, {graph.inputs[0].name: x} | interp.scalars(label, 0.0), state)
    return state


def real_gradients(graph: Graph, env: interp.Env) -> dict[str, Array]:
    """Trained param -> its gradient in float64, as the update nodes of one step saw it."""
    found: dict[str, Array] = {}
    for node in graph.nodes:
        if ops.get(node.op).phase == "update":
            found |= _head(node, env) if node.op == "linear_sgd" else _integer(node, env)
    return found


def trained_part(graph: Graph, param: str, full: Array) -> Array:
    """The entries of a whole gradient that a sparse update has."""
    for node in graph.nodes:
        if node.op == "sgd_partial" and node.ins[0] == param:
            return full[..., graph.params[node.ins[6]].data]
    return full


def cosine(a: Array, b: Array) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 1.0 if norm == 0 and not a.any() and not b.any() else float(np.vdot(a, b)) / norm


def _integer(node: Node, env: interp.Env) -> dict[str, Array]:
    dw, scale = env[node.ins[2]], env[node.ins[4]]
    return {
        node.ins[0].removesuffix("_delta"): np.ldexp(
            dw.astype(np.float64), int(scale[0]) + node.attrs["offset"]
        )
    }


def _head(node: Node, env: interp.Env) -> dict[str, Array]:
    w, b, dlogits, x, _ = node.ins
    real = (env[x].astype(np.float64) - node.attrs["zero"]) * node.attrs["scale"]
    return {w: np.outer(env[dlogits], real), b: env[dlogits].astype(np.float64)}
