"""Instructions of a training step, predicted node by node from a table of measured kernels, without C."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from mcugrad import ops
from mcugrad.errors import InternalError
from mcugrad.ir import Graph, Node
from mcugrad.ir.graph import Array
from mcugrad.ops.kinds import kind
from mcugrad.plan.memory import Plan

TABLE = Path(__file__).with_name("instructions.json")
Coefficients = Mapping[str, Sequence[float]]  # kind of node -> instructions per feature


def instructions(graph: Graph, placed: Plan) -> int:
    """Predicted instructions of one step on a Cortex-M7; how well is in the table, `held_out`.

    What runs by rows or by channel tiles costs more: a part of its cost and, of tiles, the more of it the
    narrower they are.
    """
    table: dict[str, float] = json.loads(TABLE.read_text())
    more = [0.0] * len(placed.order)
    for s in placed.streams:
        more[s.first : s.last + 1] = [table["streamed"] - 1] * (s.last + 1 - s.first)
    for t in placed.tiles:
        more[t.first : t.last + 1] = [table["tiled"] / t.width] * (t.last + 1 - t.first)
    costs = (cost(graph, node, coefficients()) for node in placed.order)
    return round(sum(c * (1 + m) for c, m in zip(costs, more, strict=True)))


def predict(graph: Graph, table: Coefficients) -> int:
    """The same from another table, with neither streams nor tiles."""
    return round(sum(cost(graph, n, table) for n in graph.nodes))


def cost(graph: Graph, node: Node, table: Coefficients) -> float:
    """Of one node; a kind that the table lacks costs what the most similar kind of its op does."""
    return float(features(graph, node) @ np.array(_row(kind(graph, node), table)))


def features(graph: Graph, node: Node) -> Array:
    """Multiply-accumulates, elements written, elements read (no params), places written, 1 for the call."""
    op = ops.get(node.op)
    ins, outs = ([graph.value(name) for name in names] for names in (node.ins, node.outs))
    moved = outs or [ins[0]]
    read = sum(v.size for v in ins if v.name not in graph.params)
    places = moved[0].size // moved[0].shape[-1]
    return np.array([op.macs(ins, outs), moved[0].size, read, places, 1.0])


def _row(name: str, table: Coefficients) -> Sequence[float]:
    words = name.split()
    same = [k for k in sorted(table) if k.split()[0] == words[0]]
    if not same:
        raise InternalError(f"no kernel of {words[0]} was measured: run mcugrad.search.measure")
    return table[max(same, key=lambda k: (k == name, len(set(words) & set(k.split()))))]


@cache
def coefficients() -> Coefficients:
    table: Coefficients = json.loads(TABLE.read_text())["kinds"]
    return table
