"""What training never changes: the nodes before the first trained layer, run once for each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.plan.front import SCALARS, parted
from mcugrad.twin.engine import Twin


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


def cached(front: Graph, images: Array, batch: int = 4, device: str = "cpu") -> Mapping[str, Array]:
    """The front's outputs for int8 images [N,H,W,C], each int8 [N,...].

    On a CPU small batches, which stay in its cache, are the fastest.
    """
    twin = Twin(front, device)
    parts = [twin.infer(images[i : i + batch]) for i in range(0, len(images), batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in front.outputs}
