"""Where a model's name leads: the embedded default, the paper's three, or a file of store.save."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mcugrad import data
from mcugrad.frontend import emit, paper, store
from mcugrad.ir import DType, Graph, Value


def load(name: str, classes: int, seed: int = 0) -> Graph:
    """The quantised forward graph with a head for that many classes; UserError for an unknown name.

    A head of another size than asked for is replaced by a fresh one drawn from `seed`.
    """
    path = Path(name) if name.endswith(".safetensors") else data.model_path(name)
    if path.suffix == ".pkl":
        return paper.from_paper(path, classes, seed)
    return with_classes(store.load(path), classes, seed)


def with_classes(graph: Graph, classes: int, seed: int) -> Graph:
    """The same graph, its linear head drawn anew where the number of classes differs."""
    head = next(n for n in graph.nodes if n.op == "linear")
    old = graph.params[head.ins[1]]
    if old.value.shape[0] == classes:
        return graph
    arrays = emit.fresh_head(classes, old.value.shape[1], seed)
    fresh = {}
    for key, array in zip(head.ins[1:], arrays, strict=True):
        array.setflags(write=False)
        fresh[key] = replace(graph.params[key], value=Value(key, DType.F32, array.shape), data=array)
    logits = replace(graph.values[head.outs[0]], shape=(classes,))
    return replace(graph, params={**graph.params, **fresh}, values={**graph.values, logits.name: logits})
