"""The modes that no board has: fp32 weights, random rounding, float gradients, no scaling."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from mcugrad.errors import InternalError
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.pipeline import training_graph
from mcugrad.twin import Twin, draws, update
from tests.networks import sample, small
from tests.training import cosine

CPU = torch.device("cpu")


def batch(graph: Graph, count: int) -> tuple[Array, Array]:
    return np.stack([sample(graph, i) for i in range(count)]), np.arange(count) % 5


def mixed(h: Array) -> Array:
    """MurmurHash3's finaliser in uint32 numpy, as C would write it."""
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    last: Array = h ^ (h >> np.uint32(16))
    return last


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (7, 1), (2**32 - 1, 100_000)])
def test_draws_are_those_of_unsigned_arithmetic(seed: int, step: int) -> None:
    start = np.array([(seed ^ zlib.crc32(b"conv.w") ^ step * 0x9E3779B1) % 2**32], np.uint32)
    index = np.arange(1000, dtype=np.uint32)
    expected = mixed(mixed(start) ^ (index * np.uint32(0x85EBCA77))) >> np.uint32(16)
    assert np.array_equal(draws.draw(seed, step, "conv.w", 1000, CPU).numpy(), expected)


def test_draws_are_even() -> None:
    drawn = np.stack([draws.draw(3, step, "w", 4096, CPU).numpy() for step in range(64)])
    assert (
        abs(drawn.mean() - 32767.5) < 200 and np.bincount(drawn.ravel() >> 12).std() < 0.02 * drawn.size / 16
    )
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("u", [0.0, 64.0, -100.0, 300.0])
def test_stochastic_rounding_is_right_on_average(u: float) -> None:
    every = torch.arange(1 << draws.BITS)
    moved = update.stochastic(torch.full((1 << draws.BITS,), u), every)
    assert set((moved % 256).tolist()) == {0.0} and abs(moved.mean().item() - u) < 1 / 256


def test_int8_keeps_no_fraction_and_repeats_itself() -> None:
    graph = training_graph(small(1), "last-4")
    twins = [Twin(graph, update="int8", seed=seed) for seed in (1, 1, 2)]
    for twin in twins:
        for i in range(3):
            twin.step(*batch(graph, 2 + i), 0.05)
    a, b, c = (twin.state() for twin in twins)
    assert all(not value.any() for name, value in a.items() if name.endswith("_frac"))
    assert all(np.array_equal(value, b[name]) for name, value in a.items())
    assert any(not np.array_equal(value, c[name]) for name, value in a.items())


def test_fp32_weights_follow_steps_that_8_bits_of_fraction_lose() -> None:
    graph = training_graph(small(1), "last-4")
    twins = {mode: Twin(graph, update=mode) for mode in ("device", "fp32")}
    start = twins["fp32"].state()
    for twin in twins.values():
        twin.step(*batch(graph, 4), 1e-7)
    name = next(n for n in start if n.endswith(".w_frac"))
    assert not twins["device"].state()[name].any()
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
    graph = training_graph(small(6), "full")
    moved = []
    for kind in ("integer", "fp32"):
        twin = Twin(graph, update="fp32", gradients=kind)
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
    graph = training_graph(small(6), "last-3")
    twin, x, labels = Twin(graph, update="fp32", qas=False), *batch(graph, 1)
    node = next(n for n in graph.nodes if n.op == "sgd_bias")
    found = twin.trace(x, labels, 0.25)[node.ins[2]][0]
    scale, frac = (twin.state()[node.ins[i]] for i in (4, 1))
    assert np.allclose(
        frac, -64.0 * np.ldexp(found.astype(float), int(scale[0]) + node.attrs["offset"]), rtol=1e-5
    )


def test_momentum_adds_up_what_went_before() -> None:
    """Rate 0 in the second step: all that moves the weights then is the velocity of the first."""
    graph = training_graph(small(6), "last-3")
    twin = Twin(graph, update="fp32", momentum=0.5)
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


def test_unknown_modes() -> None:
    with pytest.raises(InternalError, match="int4"):
        Twin(training_graph(small(), "head-only"), update="int4")
