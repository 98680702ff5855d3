"""Execute a graph with the op records' numpy references: the oracle that every other execution must equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from mcugrad import ops
from mcugrad.ir import Graph, Node
from mcugrad.ir.graph import Array

Env = dict[str, Array]


def initial_state(graph: Graph) -> Env:
    """Content of every trained param before the first step."""
    return {name: p.data for name, p in graph.params.items() if p.trained}


def walk(graph: Graph, inputs: Mapping[str, Array], state: Mapping[str, Array]) -> Iterator[tuple[Node, Env]]:
    """Run node by node; after each, yield it with the environment (values and params, updated in place)."""
    env: Env = {name: p.data for name, p in graph.params.items()} | dict(state) | dict(inputs)
    for node in graph.nodes:
        _execute(node, env)
        yield node, env


def run(
    graph: Graph, inputs: Mapping[str, Array], state: Mapping[str, Array] | None = None
) -> tuple[Env, Env]:
    """Run the whole graph; returns (all values, new state). `state` defaults to the initial one."""
    start = initial_state(graph) if state is None else dict(state)
    env: Env = dict(inputs)
    for _, env in walk(graph, inputs, start):  # noqa: B007
        pass
    return env, {name: env[name] for name in start}


def forward(graph: Graph, inputs: Mapping[str, Array], state: Mapping[str, Array] | None = None) -> Env:
    """Run the forward nodes only."""
    nodes = tuple(n for n in graph.nodes if ops.get(n.op).phase == "forward")
    return run(replace(graph, nodes=nodes), inputs, state)[0]


def scalars(label: int, lr: float | None = None) -> Env:
    """The inputs of a step beside the sample."""
    env = {"label": np.array([label], np.int32)}
    return env if lr is None else env | {"lr": np.array([lr], np.float32)}


def _execute(node: Node, env: Env) -> None:
    op = ops.get(node.op)
    results = op.ref(*(env[name] for name in node.ins), **node.attrs)
    for name, result in zip(node.outs, results, strict=False):
        env[name] = result
    written = [name for name, arg in zip(node.ins, op.ins, strict=False) if arg.name in op.inout]
    for name, result in zip(written, results[len(op.outs) :], strict=True):
        env[name] = result
