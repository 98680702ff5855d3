"""What a board must do, real or emulated: refuse, learn, forget on reset, and count its memory."""

from __future__ import annotations

import numpy as np
import pytest

from hil_tests.conftest import Bench
from mcugrad import interp
from mcugrad.codegen.params import state_tensors
from mcugrad.errors import MismatchError, UserError
from mcugrad.link.session import Session

STEPS = 20


def sample(bench: Bench, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    shape = bench.compiled.manifest["input"]["shape"]
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def test_training_equals_the_reference(bench: Bench, session: Session) -> None:
    graph, state = bench.compiled.graph, interp.initial_state(bench.compiled.graph)
    for step in range(STEPS):
        x, label = sample(bench, step), step % 10
        env, state = interp.run(graph, {"x": x} | interp.scalars(label, 0.01), state)
        result = session.train(step + 1, x.tobytes(), label, 0.01)
        assert np.float32(result["loss"]) == env["loss"][0], f"step {step}"
    for name, value in state_tensors(session.read_state(), bench.compiled.manifest).items():
        assert np.array_equal(value, state[name]), name


def test_memory_is_as_planned(bench: Bench, session: Session) -> None:
    result = session.train(1, sample(bench, 0).tobytes(), 0, 0.01)
    fit = bench.compiled.fit
    assert (result["static_bytes"], result["arena_bytes"]) == (fit.statics, fit.arena)
    assert 0 < result["stack_high"] < fit.stack


def test_a_step_is_applied_once(bench: Bench, session: Session) -> None:
    x = sample(bench, 1).tobytes()
    first = session.train(1, x, 3, 0.01)
    state = session.read_state()
    again = session.train(1, x, 3, 0.01)
    assert again["loss"] == first["loss"] and session.read_state() == state


def test_reset_brings_back_the_shipped_weights(bench: Bench, session: Session) -> None:
    before = session.read_state()
    session.train(1, sample(bench, 2).tobytes(), 1, 0.5)
    assert session.read_state() != before
    session.reset()
    assert session.read_state() == before and session.welcome["applied"] == 0


def test_state_goes_out_and_comes_back(bench: Bench, session: Session) -> None:
    session.train(1, sample(bench, 3).tobytes(), 1, 0.1)
    trained = session.read_state()
    session.reset()
    session.write_state(trained, applied=1)
    assert session.read_state() == trained and session.hello()["applied"] == 1


def test_bad_input_changes_nothing(bench: Bench, session: Session) -> None:
    before, x = session.read_state(), sample(bench, 4).tobytes()
    for bad, label, lr in ((x[:-1], 0, 0.1), (x, 10, 0.1), (x, 0, float("nan")), (x, 0, -1.0)):
        with pytest.raises(UserError):
            session.train(1, bad, label, lr)
    assert session.read_state() == before


def test_another_model_is_refused(bench: Bench) -> None:
    with pytest.raises(MismatchError, match="another model"):
        bench.connect(model_hash="f" * 32)
