"""What a board runs == the training graph: the same values in less memory, in every update mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, interp
from mcugrad.config import UPDATES, Update
from mcugrad.frontend import models
from mcugrad.ir import Graph
from mcugrad.passes.parts import PART, whole
from mcugrad.pipeline import compile_model, lowered, trained_graph, training_graph, uncalibrated
from mcugrad.plan.memory import plan
from mcugrad.plan.peak import state_bytes
from mcugrad.twin import Twin
from tests.codegen.test_equality import assert_equal_steps, host_model
from tests.networks import sample, small

SCHEMES = ["full", "5 3:1/2 4:1/3 6:1 9:1/4", "9 1:1/4 2:1/2 5:1/3 7:1/2 8:1/8"]


def with_dead_channels(graph: Graph) -> Graph:
    """Every third channel of every layer stays where it is."""
    names = [n for n in graph.params if n.endswith("_coef")]
    dead = {n: np.where(np.arange(graph.params[n].data.size) % 3, graph.params[n].data, 0) for n in names}
    return graph.with_params({n: data.astype(np.float32) for n, data in dead.items()})


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("scheme", [*SCHEMES, "dynamic:1/8..1 9 3:1/2 4:1/3 5:1/2 6:1 9:1/4"])
@pytest.mark.parametrize("lr", [0.02, 30.0])
def test_reference_of_both_graphs(scheme: str, update: Update, lr: float) -> None:
    if scheme.startswith("dynamic") and update != "8.8":
        pytest.skip("dynamic gradients are of mode 8.8")
    forward = small(len(scheme))
    graph = with_dead_channels(training_graph(forward, scheme, update=update))
    low = lowered(graph)
    state, state_low, twin = interp.initial_state(graph), interp.initial_state(low), Twin(low)
    for step in range(6):
        x, inputs = sample(forward, step), interp.scalars(step % 5, lr)
        env, state = interp.run(graph, {"x": x} | inputs, state)
        env_low, state_low = interp.run(low, {"x": x} | inputs, state_low)
        assert env["loss"].tobytes() == env_low["loss"].tobytes(), f"step {step}"
        found = whole(low, state_low)
        assert set(found) == set(state)
        for name, value in state.items():
            assert np.array_equal(value, found[name]) and value.dtype == found[name].dtype, name
        twin.step(x[None], np.array([step % 5]), lr)
        for name, value in twin.state().items():
            assert np.array_equal(value, state_low[name]), f"twin, step {step}: {name}"
    assert any(n.endswith(PART) for n in state_low) == (scheme != "full")


@pytest.mark.parametrize("update", UPDATES)
def test_generated_c(update: Update, tmp_path: Path) -> None:
    forward = small(4)
    compiled = compile_model(forward, SCHEMES[2], boards.load("nucleo_f746zg"), update=update)
    model = host_model(compiled, tmp_path)
    assert_equal_steps(compiled, model, 6, 0.02, lambda i: sample(forward, i))


def test_export_has_whole_weights() -> None:
    forward, board = small(4), boards.load("nucleo_f746zg")
    compiled = compile_model(forward, SCHEMES[1], board)
    start = interp.initial_state(compiled.graph)
    name = next(n for n in start if n.endswith(PART))
    exported = trained_graph(compiled, start | {name: start[name] + np.int8(1)})
    w = name.removesuffix(PART)
    before, after = forward.params[w].data, exported.params[w].data
    moved = (before != after).any(tuple(range(before.ndim - 1)))
    assert np.array_equal(np.flatnonzero(moved), compiled.graph.params[w.removesuffix(".w") + ".index"].data)
    assert set(exported.params) == set(forward.params)


def test_it_takes_less_memory() -> None:
    graph = uncalibrated(models.load("digits-tiny", 10), "9 9:1/4 12:1/2 15:1")
    low = lowered(graph)
    assert plan(low).bound < 0.8 * plan(graph).bound
    held = {n: p.value.size for n, p in low.params.items() if n.endswith(PART)}
    whole_weights = sum(graph.params[n.removesuffix(PART)].value.size for n in held)
    assert len(held) == 2 and state_bytes(graph) - state_bytes(low) == whole_weights - sum(held.values())
