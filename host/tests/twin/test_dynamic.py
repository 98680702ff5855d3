"""Dynamic sparse gradients: reference == twin == generated C, on whole networks, step after step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mcugrad import boards, interp, ops
from mcugrad.codegen.c import write
from mcugrad.hostmodel import HostModel
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.ops.dynamic import ONE, active_count, packed
from mcugrad.passes.dynamic import WORST
from mcugrad.pipeline import compile_model, training_graph
from mcugrad.twin import Twin
from mcugrad.twin.dynamic import DYNAMIC
from tests.networks import sample, small

SCHEMES = ["dynamic full", "dynamic:1/16..1 last-7", "dynamic:1/3..2/3 5 3:1/2 4:1/3 6:1 9:1/4"]


def packing(graph: Graph) -> dict[str, tuple[str, int]]:
    """Values that hold active channels only -> (their `active`, the channels' axis)."""
    found = {}
    for node in graph.nodes:
        if node.op.startswith("gather_active"):
            found[node.outs[0]] = (node.ins[1], -1)
        elif node.op.endswith("_dw_dynamic"):
            found[node.outs[0]] = (node.ins[2], -1 if node.op.startswith("depthwise") else 0)
        elif node.op == "top_channels":
            found[node.outs[0]] = (node.outs[0], -1)
    return found


def defined(name: str, value: Array, env: interp.Env, places: dict[str, tuple[str, int]]) -> Array:
    """What of a value in memory means something."""
    if name not in places:
        return value
    active, axis = places[name]
    if name == active:
        return value[: 1 + value[0]]
    return packed(value, env[active], axis)


def unpacked(name: str, value: Array, env: interp.Env, places: dict[str, tuple[str, int]]) -> Array:
    """A reference's value in the twin's form: all places, zeros where there is no active channel."""
    if name not in places or places[name][0] == name:
        return value
    active, axis = places[name]
    out = np.moveaxis(np.zeros_like(value), axis, -1)
    out[..., : env[active][0]] = np.moveaxis(packed(value, env[active], axis), axis, -1)
    return np.moveaxis(out, -1, axis)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_twin(scheme: str) -> None:
    forward = small(len(scheme))
    graph = training_graph(forward, scheme)
    places, counts = packing(graph), set()
    twin, state = Twin(graph), interp.initial_state(graph)
    for step in range(12):
        x, label = sample(forward, step), step % 5
        env, state = interp.run(graph, {"x": x} | interp.scalars(label, 0.01), state)
        for name, value in twin.trace(x[None], np.array([label]), 0.01).items():
            assert np.array_equal(value[0], unpacked(name, env[name], env, places)), f"step {step}: {name}"
        for name, value in twin.state().items():
            assert np.array_equal(value, state[name]) and value.dtype == state[name].dtype, name
        counts |= {(name, int(env[name][0])) for name, (active, _) in places.items() if name == active}
    assert len(counts) > len({name for name, _ in counts}), "the counts never changed"
    assert state[WORST] > 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_generated_c(scheme: str, tmp_path: Path) -> None:
    forward = small(len(scheme))
    compiled = compile_model(forward, scheme, boards.load("nucleo_f746zg"))
    graph, windows, places = compiled.graph, compiled.plan.partial, packing(compiled.graph)
    offsets = {name: at for name, at in compiled.plan.offsets.items() if name not in windows}
    model = HostModel(write(compiled.emitted, tmp_path / "gen"), tmp_path / "model.so")
    state, seen = interp.initial_state(graph), dict[str, Array]()

    def snapshot(i: int) -> None:
        node = compiled.plan.order[i]
        for name in (n for n in node.outs if n in offsets):
            v = graph.value(name)
            seen[name] = model.value(v.dtype, v.shape, offsets[name])

    model.on_node(snapshot)
    for step in range(12):
        x, label = sample(forward, step), step % 5
        env, state = interp.run(graph, {"x": x} | interp.scalars(label, 0.01), state)
        assert np.float32(model.step(x, label, 0.01).loss) == env["loss"][0]
        for name, value in seen.items():
            wanted = defined(name, env[name], env, places)
            assert np.array_equal(defined(name, value, env, places), wanted), f"step {step}: {name}"
        for name, value in model.state().items():
            assert np.array_equal(value, state[name]), f"step {step}: {name}"


def test_all_channels_are_the_static_mode() -> None:
    forward = small(4)
    static, dynamic = (training_graph(forward, s) for s in ("full", "dynamic:1..1 full"))
    states = [interp.initial_state(g) for g in (static, dynamic)]
    for step in range(50):
        given = {"x": sample(forward, step)} | interp.scalars(step % 5, 0.02)
        states = [interp.run(g, given, s)[1] for g, s in zip((static, dynamic), states, strict=True)]
    assert states[1].keys() - states[0].keys() == {WORST}
    assert all(np.array_equal(value, states[1][name]) for name, value in states[0].items())


def test_weights_of_other_channels_stand_still() -> None:
    forward = small(5)
    graph = training_graph(forward, "dynamic:1/8..1/8 last-3")
    before = interp.initial_state(graph)
    env, after = interp.run(graph, {"x": sample(forward, 1)} | interp.scalars(2, 5.0), before)
    chosen = env["b2.pw1.active"]
    still = np.setdiff1d(np.arange(9), chosen[1 : 1 + chosen[0]])
    moved = (before["b2.pw1.w_frac"] != after["b2.pw1.w_frac"]).any((1, 2, 3))
    assert chosen[0] == 4 and not moved[still].any() and moved[chosen[1:]].all()
    assert (
        np.abs(env["b2.pw1.da"].astype(int)).sum((0, 1))[still].max() <= env["b2.pw1.norms"][chosen[1:]].min()
    )


def test_zero_gradients_move_nothing(tmp_path: Path) -> None:
    """A head of zeros sends no gradient back; the lowest channels are then the active ones."""
    forward = small(6)
    forward = forward.with_params({"head.w": np.zeros_like(forward.params["head.w"].data)})
    compiled = compile_model(forward, "dynamic last-3", boards.load("nucleo_f746zg"))
    before, x = interp.initial_state(compiled.graph), sample(forward, 0)
    env, after = interp.run(compiled.graph, {"x": x} | interp.scalars(1, 0.5), before)
    chosen = env["b2.pw1.active"]
    assert chosen[1 : 1 + chosen[0]].tolist() == list(range(chosen[0]))
    assert all(np.array_equal(before[n], after[n]) for n in before if n.startswith("b2") and ".w" in n)
    twin = Twin(compiled.graph)
    twin.step(x[None], np.array([1]), 0.5)
    model = HostModel(write(compiled.emitted, tmp_path / "gen"), tmp_path / "model.so")
    model.step(x, 1, 0.5)
    for state in (twin.state(), model.state()):
        assert all(np.array_equal(value, after[name]) for name, value in state.items())


@pytest.mark.parametrize("c", [1, 3, 4, 5, 33, 640])
@pytest.mark.parametrize("share", [1, ONE // 8, ONE // 2, ONE])
def test_top_channels_with_ties(c: int, share: int) -> None:
    for most in {active_count(share, c), c}:
        for top in (0, 1, 3, 1 << 30):
            norms = np.random.default_rng(c + share).integers(0, top + 1, (3, c))
            shares = torch.full((3, 1), float(share))
            (found,) = DYNAMIC["top_channels"](torch.from_numpy(norms).double(), shares, most=most)
            for row, places in zip(norms, found.numpy(), strict=True):
                (expected,) = ops.get("top_channels").ref(row, np.array([share]), most=most)
                assert np.array_equal(places, expected)


def test_copies_of_a_sample_are_that_sample() -> None:
    forward = small(7)
    graph = training_graph(forward, "dynamic full")
    one, many = Twin(graph), Twin(graph)
    for step in range(4):
        x = sample(forward, step)[None]
        one.step(x, np.array([step]), 0.01)
        many.step(np.repeat(x, 3, 0), np.full(3, step), 0.01)
    assert all(np.array_equal(value, many.state()[name]) for name, value in one.state().items())


def test_each_sample_of_a_batch_has_channels_of_its_own() -> None:
    forward = small(8)
    forward = forward.with_params({"head.w": forward.params["head.w"].data * 9})  # certain, so losses differ
    graph = training_graph(forward, "dynamic:1/16..1 full")
    x, labels = np.stack([sample(forward, i) for i in range(4)]), np.array([0, 1, 2, 3])
    _, likely = Twin(graph).forward(x, labels)
    trace = Twin(graph).trace(x, np.append(likely[:2], (likely[2:] + 1) % 5), 0.0)
    counts = trace["b1.dw.active"][:, 0]
    assert len(set(counts.tolist())) > 1
    for part, count in zip(trace["b1.dw.active_da"], counts, strict=True):
        assert not part[..., count:].any() and part[..., :count].any()
