"""Learning: the reference's bits in one step's gradients and along a run's loss curve; memory as planned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hil_tests.rig import Image
from mcugrad import interp
from mcugrad.codegen.params import state_tensors
from mcugrad.link.session import Session

STEPS, RATE = 20, 0.01


def curve(image: Image, session: Session) -> list[bytes]:
    """Bits of the losses of a run on noise."""
    results = (session.train(s + 1, image.sample(s).tobytes(), s % 10, RATE) for s in range(STEPS))
    return [np.float32(r["loss"]).tobytes() for r in results]


def test_one_steps_gradients(image: Image, session: Session) -> None:
    """A rate so high that hardly a gradient is lost in an update: each update has the reference's bits."""
    graph, before = image.compiled.graph, interp.initial_state(image.compiled.graph)
    _, after = interp.run(graph, {"x": image.sample(7)} | interp.scalars(3, 1.0), before)
    session.train(1, image.sample(7).tobytes(), 3, 1.0)
    moved = 0
    for name, value in state_tensors(session.read_state(), image.compiled.manifest).items():
        assert np.array_equal(value, after[name]), name
        moved += int((after[name] != before[name]).sum())
    assert moved > 1000, "the step moved too little to tell anything"


def test_a_runs_loss_curve(image: Image, session: Session) -> None:
    graph, state = image.compiled.graph, interp.initial_state(image.compiled.graph)
    expected = []
    for step in range(STEPS):
        given = {"x": image.sample(step)} | interp.scalars(step % 10, RATE)
        env, state = interp.run(graph, given, state)
        expected.append(env["loss"][0].tobytes())
    assert curve(image, session) == expected
    for name, value in state_tensors(session.read_state(), image.compiled.manifest).items():
        assert np.array_equal(value, state[name]), name


def test_boards_at_the_same_time(images: list[Image], sessions: list[Session]) -> None:
    """Each of several boards, all working at once, has the curve that it has alone."""
    alone = [curve(i, s) for i, s in zip(images, sessions, strict=True)]
    for session in sessions:
        session.reset()
    with ThreadPoolExecutor(len(sessions)) as pool:
        assert list(pool.map(curve, images, sessions)) == alone


def test_memory_is_as_planned(image: Image, session: Session) -> None:
    result, fit = session.train(1, image.sample(0).tobytes(), 0, RATE), image.compiled.fit
    assert (result["static_bytes"], result["arena_bytes"]) == (fit.statics, fit.arena)


def test_the_stack_stays_in_its_room(image: Image, session: Session) -> None:
    x = image.sample(0).tobytes()
    high = max(session.train(1, x, 0, RATE)["stack_high"], session.evaluate(x, 0)["stack_high"])
    assert 0 < high < image.compiled.fit.stack
