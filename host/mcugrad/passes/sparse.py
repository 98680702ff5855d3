"""Sparse update: a scheme, applied to a graph, says which params train."""

from __future__ import annotations

from mcugrad.ir import Graph
from mcugrad.passes.schemes import Ranking, Scheme, convolutions, select_channels


def requests(
    graph: Graph, scheme: Scheme, ranking: Ranking | None = None
) -> dict[str, bool | tuple[int, ...]]:
    """Param -> True, or the input channels that train."""
    convs = convolutions(graph)
    chosen: dict[str, bool | tuple[int, ...]] = {
        name: True for node in graph.nodes if node.op == "linear" and scheme.head for name in node.ins[1:]
    }
    chosen |= {node.ins[2]: True for node in convs[len(convs) - scheme.biases :]}
    for index, share in scheme.weights.items():
        channels = select_channels(graph, index, share, ranking)
        if channels:
            chosen[convs[index].ins[1]] = True if share == 1 else channels
    return chosen
