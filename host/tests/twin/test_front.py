"""Training on the cached activations of the frozen front is the same training."""

from __future__ import annotations

import numpy as np
import pytest

from mcugrad.ops.op import get
from mcugrad.pipeline import training_graph
from mcugrad.twin import Twin, cached, split
from tests.networks import sample, small

SCHEMES = ["full", "head-only", "bias-only", "last-4", "3 8:1/2", "0 5:1/2 4:1/3"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_results_and_state(scheme: str) -> None:
    graph = training_graph(small(5), scheme)
    front, rest = split(graph)
    images = np.stack([sample(graph, i) for i in range(6)])
    inputs = cached(front, images, 4)
    whole, part = Twin(graph), Twin(rest)
    for step in range(3):
        chosen = [step, step + 1, step + 3]
        a = whole.step(images[chosen], np.array(chosen) % 5, 0.01)
        b = part.step({name: data[chosen] for name, data in inputs.items()}, np.array(chosen) % 5, 0.01)
        assert all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))
    assert whole.state().keys() == part.state().keys()
    assert all(np.array_equal(value, part.state()[name]) for name, value in whole.state().items())


def test_the_front_holds_all_that_is_frozen() -> None:
    graph = training_graph(small(5), "last-4")
    front, rest = split(graph)
    assert len(front.nodes) + len(rest.nodes) == len(graph.nodes)
    assert not any(p.trained for p in front.params.values())
    assert next(n.layer for n in rest.nodes if get(n.op).phase == "forward") == "b1.pw2"


def test_nothing_is_frozen_in_full_training() -> None:
    front, rest = split(training_graph(small(5), "full"))
    assert not front.nodes and rest.inputs[0].name == "x"
