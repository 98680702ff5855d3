"""What a batch changes, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from mcugrad import interp
from mcugrad.config import UPDATES, Update
from mcugrad.pipeline import training_graph
from mcugrad.twin import Twin
from tests.networks import sample, small
from tests.training import real_gradients


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("copies", [3, 8])
def test_copies_of_a_sample_do_what_it_does_alone(update: Update, copies: int) -> None:
    graph = training_graph(small(2), "5 3:1/2 4:1/3 6:1 9:1/4", update=update)
    alone, many = Twin(graph), Twin(graph)
    for step in range(4):
        x = sample(graph, step)
        alone.step(x[None], np.array([step]), 0.01)
        many.step(np.stack([x] * copies), np.full(copies, step), 0.01)
        for name, value in many.state().items():
            assert np.array_equal(value, alone.state()[name]), f"step {step}: {name}"


def test_each_sample_has_its_own_exponents() -> None:
    """Every value of a sample in a batch is what it is alone, from the same state; biases are one for all."""
    graph = training_graph(small(4), "full")
    x, labels = np.stack([sample(graph, i) for i in range(5)]), np.arange(5)
    together = Twin(graph).trace(x, labels, 0.01)
    for i in range(5):
        for name, value in Twin(graph).trace(x[i : i + 1], labels[i : i + 1], 0.01).items():
            assert np.array_equal(together[name][i % len(together[name])], value[0]), name


def test_the_update_is_that_of_the_mean_gradient() -> None:
    """`fp32` weights move by lr * QAS * mean; the reference's gradients of single samples say how much."""
    graph = training_graph(small(4), "last-3", update="fp32")
    x, labels, lr = [sample(graph, i) for i in range(4)], np.arange(4), 1e-4
    runs = [interp.run(graph, {"x": v} | interp.scalars(i, lr))[0] for i, v in enumerate(x)]
    gradients = [real_gradients(graph, env) for env in runs]
    twin = Twin(graph)
    start = twin.state()
    twin.step(np.stack(x), labels, lr)
    node = next(n for n in graph.nodes if n.op == "sgd_fp32" and not n.attrs["inner"])
    mean = np.mean([g[node.ins[0]] for g in gradients], 0)
    expected = -lr * mean * graph.params[node.ins[3]].data.reshape(-1, 1, 1, 1)
    w, frac = (twin.state()[name].astype(np.float64) for name in node.ins[:2])
    assert np.allclose((w - start[node.ins[0]]) * 256 + frac, expected, rtol=1e-5, atol=1e-4)


def test_growth_is_the_largest_found() -> None:
    graph = training_graph(small(4), "full")
    x, labels = np.stack([sample(graph, i) for i in range(5)]), np.arange(5)
    together = Twin(graph)
    together.step(x, labels, 0.01)
    singles = [Twin(graph) for _ in range(5)]
    for i, twin in enumerate(singles):
        twin.step(x[i : i + 1], labels[i : i + 1], 0.01)
    for name in (n for n in together.state() if n.endswith("dx_scale")):
        growth, saturated = together.state()[name][1:3]
        assert growth == max(t.state()[name][1] for t in singles)
        assert saturated == max(t.state()[name][2] for t in singles)
