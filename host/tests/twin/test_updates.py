"""Rounding in the update modes, and what no board has: float gradients, no scaling, momentum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mcugrad.config import UPDATES
from mcugrad.errors import InternalError
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.ops import draws as reference
from mcugrad.pipeline import training_graph
from mcugrad.twin import Twin, draws
from tests.networks import sample, small
from tests.training import cosine


def batch(graph: Graph, count: int) -> tuple[Array, Array]:
    return np.stack([sample(graph, i) for i in range(count)]), np.arange(count) % 5


@pytest.mark.parametrize(("key", "step"), [(0, 0), (7, 1), (2**32 - 1, 100_000), (5, -1)])
def test_draws_are_the_references(key: int, step: int) -> None:
    expected = reference.draw(key, step, 1000)
    assert np.array_equal(draws.draw(key, torch.tensor([step]), 1000).numpy(), expected)


def test_int8_repeats_itself_and_the_seed_matters() -> None:
    twins = [Twin(training_graph(small(1), "last-4", update="int8", seed=seed)) for seed in (1, 1, 2)]
    graph = twins[0].graph
    for twin in twins:
        for i in range(3):
            twin.step(*batch(graph, 2 + i), 0.05)
    a, b, c = (twin.state() for twin in twins)
    assert a["steps"] == 3 and not any(name.endswith("_frac") for name in a)
    assert all(np.array_equal(value, b[name]) for name, value in a.items())
    assert any(not np.array_equal(value, c[name]) for name, value in a.items())


def test_fp32_weights_follow_steps_that_8_bits_of_fraction_lose() -> None:
    graphs = {mode: training_graph(small(1), "last-4", update=mode) for mode in UPDATES}
    twins, graph = {mode: Twin(g) for mode, g in graphs.items()}, graphs["8.8"]
    start = twins["fp32"].state()
    for twin in twins.values():
        twin.step(*batch(graph, 4), 1e-7)
    name = next(n for n in start if n.endswith(".w_frac"))
    assert not twins["8.8"].state()[name].any()
    assert twins["fp32"].state()[name].any() and np.abs(twins["fp32"].state()[name]).max() < 0.5


def test_float_gradients_are_what_integer_ones_round() -> None:
    graph = training_graph(small(6), "full")
    integer, real = Twin(graph), Twin(graph, gradients="fp32")
    x, labels = batch(graph, 4)
    for _ in range(3):  # at rate 0 the growths settle
        integer.step(x, labels, 0.0)
    found, exact = (t.trace(x, labels, 0.0) for t in (integer, real))
    checked = {name for n in graph.nodes if n.op.startswith("sgd") for name in n.ins[2:3]}
    assert len(checked) == 20
    for name in checked:
        assert all(cosine(a, b) > 0.9995 for a, b in zip(found[name], exact[name], strict=True)), name


def test_float_gradients_have_the_right_size() -> None:
    """In real units: one step of fp32 weights is nearly the same with both kinds of gradients."""
    graph = training_graph(small(6), "full", update="fp32")
    moved = []
    for kind in ("integer", "fp32"):
        twin = Twin(graph, gradients=kind)
        twin.step(*batch(graph, 4), 1e-4)
        moved.append(twin.state())
    for name in (n for n in moved[0] if n.endswith("_frac")):
        assert np.linalg.norm(moved[0][name] - moved[1][name]) < 0.05 * np.linalg.norm(moved[1][name]), name


def test_float_gradients_leave_scale_states_alone() -> None:
    graph = training_graph(small(6), "full")
    twin = Twin(graph, gradients="fp32")
    before = twin.state()
    twin.step(*batch(graph, 4), 0.01)
    assert all(np.array_equal(v, before[n]) for n, v in twin.state().items() if n.endswith("dx_scale"))


def test_without_scaling_the_integers_take_their_plain_gradient() -> None:
    graph = training_graph(small(6), "last-3", update="fp32")
    twin, x, labels = Twin(graph, qas=False), *batch(graph, 1)
    node = next(n for n in graph.nodes if n.op == "sgd_bias_fp32")
    found = twin.trace(x, labels, 0.25)[node.ins[2]][0]
    scale, frac = (twin.state()[node.ins[i]] for i in (4, 1))
    assert np.allclose(
        frac, -64.0 * np.ldexp(found.astype(float), int(scale[0]) + node.attrs["offset"]), rtol=1e-5
    )


def test_momentum_adds_up_what_went_before() -> None:
    """Rate 0 in the second step: all that moves the weights then is the velocity of the first."""
    graph = training_graph(small(6), "last-3", update="fp32")
    twin = Twin(graph, momentum=0.5)
    states = [twin.state()]
    for lr in (1e-4, 0.0):
        twin.step(*batch(graph, 2), lr)
        states.append(twin.state())
    for node in (n for n in graph.nodes if n.op.startswith("sgd")):
        a, b, c = (s[node.ins[0]] * 256.0 + s[node.ins[1]] for s in states)
        assert (b - a).any() and np.allclose(c - b, (b - a) / 2, rtol=1e-4, atol=1e-3)
    a, b, c = (s["head.w"] for s in states)
    assert np.allclose(c - b, (b - a) / 2, rtol=1e-2, atol=1e-6)


def test_velocity_is_part_of_the_state() -> None:
    graph = training_graph(small(6), "last-3")
    first, second = (Twin(graph, momentum=0.9) for _ in range(2))
    first.step(*batch(graph, 2), 0.01)
    second.load(first.state())
    for twin in (first, second):
        twin.step(*batch(graph, 3), 0.01)
    assert all(np.array_equal(value, second.state()[name]) for name, value in first.state().items())


def test_unknown_gradients() -> None:
    with pytest.raises(InternalError, match="int4"):
        Twin(training_graph(small(), "head-only"), gradients="int4")
