"""The update modes in all executions: reference == generated C == torch twin == firmware on the board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, interp
from mcugrad.codegen.params import state_tensors
from mcugrad.config import UPDATES, Update
from mcugrad.frontend import emit, models
from mcugrad.ir import Graph, Quant
from mcugrad.ir.graph import Array
from mcugrad.ops.op import scale_states
from mcugrad.pipeline import Compiled, compile_model, lowered, training_graph
from mcugrad.plan.peak import state_bytes
from tests.codegen import test_equality as on_host
from tests.networks import Net, sample, small

pytest.importorskip("torch")
from tests.twin import test_equality as in_torch
from tests.twin.conftest import one_thread  # noqa: F401  a fixture for every test here

F746 = boards.load("nucleo_f746zg")
PARTLY = "5 3:1/2 4:1/3 6:1 9:1/4"
STEPS = 100


def with_dead_channel() -> Graph:
    """A convolution whose channel 1 has weights too small to move anything, among live ones."""
    net = Net((9, 8, 3), 2).conv("first", 6, 3)
    weight = net.rng.integers(-128, 128, (5, 3, 3, 6)).astype(np.int8)
    scale = np.array([0.002, 1e-12, 0.003, 0.001, 0.002], np.float32)
    spec = emit.Conv("middle", weight, np.arange(5), scale, 1, 1, Quant(0.02, -128), False)
    net.at = emit.conv(net.b, net.at, spec)
    return net.block("last", 8, 5, 3).head(4)


def assert_all_equal(
    forward: Graph, scheme: str, update: Update, lr: float, x: Callable[[int], Array], folder: Path
) -> interp.Env:
    """C and twin take the reference's steps; returns C's state at their end."""
    compiled = compile_model(forward, scheme, F746, update=update, seed=5)
    model = on_host.host_model(compiled, folder)
    on_host.assert_equal_steps(compiled, model, STEPS, lr, x, every_value=False)
    in_torch.assert_equal_steps(compiled.graph, STEPS, lr, x, every=10)
    return model.state()


def assert_it_moved(forward: Graph, state: interp.Env) -> None:
    """Equality says little of weights that stand still."""
    for kind in {v.dtype for n, v in state.items() if n in forward.params}:
        of_kind = [n for n in forward.params if n in state and state[n].dtype == kind]
        assert any((state[n] != forward.params[n].data).any() for n in of_kind), kind


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("scheme", ["full", "bias-only", "head-only", PARTLY])
def test_random_network(scheme: str, update: Update, tmp_path: Path) -> None:
    forward = small(len(scheme))
    state = assert_all_equal(forward, scheme, update, 0.01, lambda i: sample(forward, i % 12), tmp_path)
    assert_it_moved(forward, state)
    assert ("steps" in state) == (update == "int8" and scheme != "head-only")
    assert state.get("steps", STEPS) == STEPS


@pytest.mark.parametrize("update", UPDATES)
def test_wild_learning_rate_saturates_alike(update: Update, tmp_path: Path) -> None:
    forward = small(3)
    state = assert_all_equal(forward, "full", update, 30.0, lambda i: sample(forward, i), tmp_path)
    weights = [v for n, v in state.items() if n in forward.params and v.dtype == np.int8]
    ends = np.concatenate([np.abs(w.astype(int) * 2 + 1).ravel() == 255 for w in weights])
    assert ends.mean() > 0.1, "a hundredth of random weights is at the ends of the range"


@pytest.mark.parametrize("update", UPDATES)
def test_dead_channels_stay(update: Update, tmp_path: Path) -> None:
    forward = with_dead_channel()
    state = assert_all_equal(forward, "full", update, 0.05, lambda i: sample(forward, i % 8), tmp_path)
    assert_it_moved(forward, state)
    assert np.array_equal(state["middle.w"][1], forward.params["middle.w"].data[1])
    assert state["middle.b_delta"][1] == 0 and state["middle.b_delta"].any()


@pytest.mark.parametrize("update", UPDATES)
def test_default_model(update: Update, tmp_path: Path) -> None:
    x, forward = on_host.images("paper-digits"), models.load("digits-tiny", 10)
    state = assert_all_equal(forward, "10kb", update, 0.02, lambda i: x[i], tmp_path)
    assert_it_moved(forward, state)


@pytest.mark.parametrize("update", ["int8", "fp32"])
@pytest.mark.parametrize("model", ["random", "digits-tiny"])
def test_board(model: str, update: Update, tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    from tests import test_emulated_board as on_board

    if model == "random":
        forward = small(1)
        compiled, lr = compile_model(forward, PARTLY, F746, update=update, seed=5), 0.01
        x: Callable[[int], Array] = lambda i: sample(forward, i)  # noqa: E731
    else:
        digits = on_host.images("paper-digits")
        forward, lr = models.load("digits-tiny", 10), 0.02
        compiled, x = compile_model(forward, "10kb", F746, update=update), digits.__getitem__
    on_board.assert_same_training(on_board.image(compiled, tmp_path), STEPS, lr, x, tmp_path)


def of_int8(seed: int = 0) -> Compiled:
    return compile_model(small(), "full", F746, update="int8", seed=seed)


def test_a_restored_state_draws_the_same_numbers(tmp_path: Path) -> None:
    compiled = of_int8()
    model, ends = on_host.host_model(compiled, tmp_path), []
    for step in range(3):
        model.step(sample(compiled.forward, step), step, 0.05)
    saved = model.state_bytes()
    for _ in range(2):
        model.restore(saved)
        for step in range(3, 6):
            model.step(sample(compiled.forward, step), step % 5, 0.05)
        ends.append(model.state_bytes())
    assert ends[0] == ends[1] != saved


def test_a_board_that_was_reset_goes_on_alike(tmp_path: Path) -> None:
    """A step that is asked for twice, because its answer was lost, counts once."""
    pytest.importorskip("unicorn")
    from tests import test_emulated_board as on_board

    made, ends, saved = on_board.image(of_int8(), tmp_path), [], b""
    for first in (1, 4):
        board = on_board.session(made)
        if saved:
            board.write_state(saved, first - 1)
        for step in range(first, 7):
            for _ in range(2):
                board.train(step, sample(made[0].forward, step).tobytes(), step % 5, 0.05)
            saved = board.read_state() if step == 3 else saved
        ends.append(board.read_state())
        board.close()
    assert ends[0] == ends[1] != saved
    assert state_tensors(ends[0], made[0].manifest)["steps"] == 6


def test_a_step_without_update_draws_nothing(tmp_path: Path) -> None:
    compiled = of_int8()
    model, x = on_host.host_model(compiled, tmp_path), sample(compiled.forward, 0)
    before = model.state()["steps"]
    model.forward(x, 0)
    assert model.state()["steps"] == before == 0
    losses = [model.step(x, 0, 3e38).loss for _ in range(4)]
    assert not np.isfinite(losses[-1]) and model.state()["steps"] == np.isfinite(losses).sum() > 0


def test_the_seed_is_part_of_the_program() -> None:
    assert of_int8(1).manifest["hash"] != of_int8(2).manifest["hash"]
    first, second = (training_graph(small(), "full", seed=seed) for seed in (1, 2))
    assert str(first.nodes) == str(second.nodes), "only int8 draws numbers"


@pytest.mark.parametrize("scheme", ["full", "bias-only", PARTLY])
def test_bytes_of_the_state(scheme: str) -> None:
    """A trained weight takes 2 bytes, 1 or 5, a bias 5, 4 or 8; int8 has a word that counts the steps."""
    graphs = {update: lowered(training_graph(small(), scheme, update=update)) for update in UPDATES}
    trained = [v.value for n, v in graphs["8.8"].params.items() if n.endswith("_frac")]
    fractions = sum(v.size for v in trained)
    bare = {k: sum(p.value.nbytes for p in g.params.values() if p.trained) for k, g in graphs.items()}
    assert bare["8.8"] - fractions == bare["int8"] - 4 == bare["fp32"] - 4 * fractions
    for update, graph in graphs.items():
        compiled = compile_model(small(), scheme, F746, update=update)
        assert compiled.manifest["state_bytes"] == state_bytes(graph) == -(-bare[update] // 4) * 4
        assert compiled.fit.regions[0].parts["trained state"] == state_bytes(graph)
        assert scale_states(graph) == scale_states(graphs["8.8"])
