"""Twin with one sample a step == reference: every value of every node, and the state, step after step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mcugrad import interp
from mcugrad.data import load
from mcugrad.frontend import models
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.ops.op import OPS
from mcugrad.pipeline import training_graph
from mcugrad.sources.image import codes
from mcugrad.twin import Twin
from mcugrad.twin.backward import BACKWARD
from mcugrad.twin.dynamic import DYNAMIC, DYNAMIC_UPDATE
from mcugrad.twin.forward import FORWARD
from mcugrad.twin.fused import fused
from mcugrad.twin.real import REAL
from mcugrad.twin.update import UPDATE
from tests.models import paper_model, photos
from tests.networks import Net, sample, small

SCHEMES = ["full", "head-only", "bias-only", "last-4", "5 3:1/2 4:1/3 6:1 9:1/4", "2 5:1/2 8:1/3"]


def assert_equal_steps(
    graph: Graph, steps: int, lr: float, x: Callable[[int], Array], every: int = 1
) -> None:
    """Both take the same steps; each `every`-th is compared value by value, the state after each."""
    twin, state = Twin(graph), interp.initial_state(graph)
    classes = graph.value(graph.outputs["logits"]).size
    for step in range(steps):
        label = step % classes
        env, state = interp.run(graph, {"x": x(step)} | interp.scalars(label, lr), state)
        if step % every == 0:
            for name, value in twin.trace(x(step)[None], np.array([label]), lr).items():
                one = value if value.shape == env[name].shape else value[0]  # weights have no sample axis
                assert np.array_equal(one, env[name]), f"step {step}: {name}"
        else:
            loss, predicted = twin.step(x(step)[None], np.array([label]), lr)
            assert loss[0] == env["loss"][0] and predicted[0] == env["predicted"][0], f"step {step}"
        for name, value in twin.state().items():
            same = np.array_equal(value, state[name]) and value.dtype == state[name].dtype
            assert same, f"step {step}: {name}"


def test_every_op_has_a_twin() -> None:
    table = FORWARD | BACKWARD | UPDATE | DYNAMIC | DYNAMIC_UPDATE
    assert set(table | fused(table)) == set(OPS)
    assert set(BACKWARD) - set(REAL) == {"gather_dx"}, "copies what it is given"
    assert set(REAL) <= set(OPS)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_network(scheme: str) -> None:
    graph = small(len(scheme))
    assert_equal_steps(training_graph(graph, scheme), 12, 0.01, lambda i: sample(graph, i))


def test_wild_learning_rate_saturates_alike() -> None:
    graph = small(3)
    assert_equal_steps(training_graph(graph, "last-7"), 6, 30.0, lambda i: sample(graph, i))


def test_sums_beyond_float32() -> None:
    """1800 products forward, where a float32 sum holds 514; 990 of 22 bits backward, where it holds 8."""
    graph = Net((4, 4, 3), 1).conv("a", 200, 3).conv("b", 110, 3).head(3)
    assert_equal_steps(training_graph(graph, "full"), 3, 0.001, lambda i: sample(graph, i))


def test_inference_changes_nothing() -> None:
    graph = training_graph(small(), "full")
    twin, x = Twin(graph), np.stack([sample(graph, i) for i in range(3)])
    before = twin.state()
    losses, predicted = twin.forward(x, np.array([2, 0, 1]))
    assert all(np.array_equal(value, before[name]) for name, value in twin.state().items())
    for i, label in enumerate([2, 0, 1]):
        env = interp.forward(graph, {"x": x[i]} | interp.scalars(label))
        assert losses[i] == env["loss"][0] and predicted[i] == env["predicted"][0]


def test_infinite_loss_changes_nothing() -> None:
    graph = training_graph(small(), "full")
    twin = Twin(graph)
    for _ in range(3):
        before = twin.state()
        if not np.isfinite(twin.step(sample(graph, 0)[None], np.array([0]), 3e38)[0]).all():
            break
    else:
        raise AssertionError("the loss stayed finite")
    assert all(np.array_equal(value, before[name]) for name, value in twin.state().items())


def test_a_loaded_state_goes_on_alike() -> None:
    graph = training_graph(small(), "last-4")
    first, second = Twin(graph), Twin(graph)
    for step in range(2):
        first.step(sample(graph, step)[None], np.array([step]), 0.01)
    second.load(first.state())
    for twin in (first, second):
        twin.step(sample(graph, 5)[None], np.array([1]), 0.01)
    assert all(np.array_equal(value, second.state()[name]) for name, value in first.state().items())


def test_default_model() -> None:
    pytest.importorskip("sklearn")
    x = codes(load("paper-digits").x_train)
    graph = training_graph(models.load("digits-tiny", 10), "10kb")
    assert_equal_steps(graph, 100, 0.02, lambda i: x[i], every=10)


def test_paper_model() -> None:
    graph, x = training_graph(paper_model("mcunet-5fps"), "99kb"), photos("flowers102")
    assert_equal_steps(graph, 5, 0.002, lambda i: x[i], every=4)
