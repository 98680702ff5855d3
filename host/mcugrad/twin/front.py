"""What training never changes: the nodes before the first trained layer, run once for each image."""

from __future__ import annotations

from dataclasses import replace

from mcugrad.ir import Graph
from mcugrad.plan.front import SCALARS, parted


def split(graph: Graph) -> tuple[Graph, Graph]:
    """A training graph -> (frozen front, rest). The front's outputs are the rest's inputs, with label, lr."""
    front, rest = parted(graph, graph.nodes)
    made = {v.name for v in graph.inputs if v.name not in SCALARS} | {name for n in front for name in n.outs}
    crossing = sorted({name for n in rest for name in n.ins} & made)
    scalars = tuple(v for v in graph.inputs if v.name in SCALARS)
    images = tuple(v for v in graph.inputs if v.name not in SCALARS)
    first = replace(graph, inputs=images, outputs={name: name for name in crossing})
    second = replace(graph, inputs=(*(graph.value(name) for name in crossing), *scalars))
    return first.with_nodes(front), second.with_nodes(rest)
