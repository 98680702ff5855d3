"""Channels by Fisher information: the score is autograd's, and the compiler trains the channels it names."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from mcugrad.ir.graph import Array, Graph, Node
from mcugrad.passes.fisher import fisher
from mcugrad.passes.schemes import Scheme, convolutions, select_channels
from mcugrad.pipeline import training_graph
from tests import networks
from tests.reference import torch_reference

HALF = Fraction(1, 2)
PARTS = (4, 5, 6)  # expand behind a residual add, depthwise, project


def samples(graph: Graph, count: int) -> list[tuple[Array, int]]:
    return [(networks.sample(graph, seed), seed % 5) for seed in range(count)]


def sensitivity(graph: Graph, chosen: Node, x: Array, label: int) -> Array:
    """Activation times gradient, summed over places, at the input of one convolution."""
    run = torch_reference.Run(graph)
    run.values[graph.inputs[0].name] = torch.tensor(x.astype(np.float64))
    own = torch.zeros(())
    for node in graph.nodes:
        before = run.values.get(node.ins[0])
        if node is chosen:
            own = run.get(node.ins[0]).detach().requires_grad_()
            run.values[node.ins[0]] = own
        run.values[node.outs[0]] = torch_reference.apply(run, node)
        if before is not None:
            run.values[node.ins[0]] = before
    (gradient,) = torch.autograd.grad(torch_reference.loss(run, label), own)
    centred = own.detach() - int(chosen.attrs["zero_in"])
    result: Array = (centred * gradient).sum((0, 1)).numpy()
    return result


@pytest.mark.parametrize("index", PARTS)
def test_the_score_is_activation_times_gradient(index: int) -> None:
    graph = networks.small()
    node = convolutions(graph)[index]
    found = fisher(graph, Scheme(0, {index: HALF}), samples(graph, 3))[index]
    exact = sum(sensitivity(graph, node, x, label) ** 2 for x, label in samples(graph, 3))
    assert found == pytest.approx(exact, rel=0.02, abs=0.002 * exact.max())


def test_the_same_samples_give_the_same_bits_and_others_another_choice() -> None:
    graph, scheme = networks.small(), Scheme(0, dict.fromkeys(PARTS, HALF))
    first, again = (fisher(graph, scheme, samples(graph, 2)) for _ in range(2))
    assert all(np.array_equal(first[i], again[i]) for i in PARTS)
    assert any(select_channels(graph, i, HALF, first) != select_channels(graph, i, HALF) for i in PARTS)


def test_only_partly_trained_layers_are_ranked() -> None:
    graph = networks.small()
    assert fisher(graph, Scheme(9, {9: Fraction(1)}), samples(graph, 1)) == {}


def test_the_training_graph_gathers_the_best_channels() -> None:
    graph = networks.small()
    scores = np.arange(12)[::-1].copy()
    step = training_graph(graph, "2 5:1/4", ranking={5: scores})
    assert step.params["b1.dw.index"].data.tolist() == [0, 1, 2]
