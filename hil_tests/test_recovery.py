"""Resets and pulled cables: what was learned is lost on the board, and put back."""

from __future__ import annotations

import threading

import pytest

from hil_tests.rig import Bench, Image
from mcugrad.link.line import PortLostError
from mcugrad.link.session import BoardResetError, Session


def emulated_only(bench: Bench) -> None:
    if bench.cable is None:
        pytest.skip("pulls the cable by software: an emulated board only")


def test_reset_brings_back_the_shipped_weights(image: Image, session: Session) -> None:
    before = session.read_state()
    session.train(1, image.sample(2).tobytes(), 1, 0.5)
    assert session.read_state() != before
    session.reset()
    assert session.read_state() == before and session.welcome["applied"] == 0


def test_state_goes_out_and_comes_back(image: Image, session: Session) -> None:
    session.train(1, image.sample(3).tobytes(), 1, 0.1)
    trained = session.read_state()
    session.reset()
    session.write_state(trained, applied=1)
    assert session.read_state() == trained and session.hello()["applied"] == 1


def test_reset_in_the_middle_of_a_step(bench: Bench, image: Image, session: Session) -> None:
    """The button while a sample is under way: the step fails, and the state can be put back."""
    emulated_only(bench)
    session.train(1, image.sample(0).tobytes(), 0, 0.1)
    trained = session.read_state()
    timer = threading.Timer(0.005, bench.cable.control, ({"cmd": "reset"},))  # type: ignore[union-attr]
    timer.start()
    with pytest.raises(BoardResetError, match="by its reset pin") as lost:
        for step in range(2, 50):
            session.train(step, image.sample(step).tobytes(), step % 10, 0.1)
    timer.join()
    session.recover(lost.value)
    assert session.welcome["applied"] == 0
    session.write_state(trained, applied=1)
    assert session.train(2, image.sample(2).tobytes(), 2, 0.1)["applied"] == 2


def test_a_core_that_hangs_is_reset_by_the_watchdog(bench: Bench, image: Image, session: Session) -> None:
    """In the middle of a step. A real board would need a debugger to be hung: emulated only."""
    emulated_only(bench)
    timer = threading.Timer(0.02, bench.cable.control, ({"cmd": "hang"},))  # type: ignore[union-attr]
    timer.start()
    with pytest.raises(BoardResetError) as lost:
        for step in range(1, 500):
            session.train(step, image.sample(step).tobytes(), step % 10, 0.1)
    timer.join()
    session.recover(lost.value)
    assert session.train(1, image.sample(1).tobytes(), 1, 0.1)["applied"] == 1


def test_the_cause_of_a_watchdogs_reset_is_told(bench: Bench, session: Session) -> None:
    emulated_only(bench)
    assert bench.cable.control({"cmd": "hang"}) == {"watchdog": True}  # type: ignore[union-attr]
    with pytest.raises(BoardResetError, match="by its watchdog, because it hung"):
        session.hello()


def test_unplugged_in_the_middle_of_a_step(bench: Bench, image: Image, session: Session) -> None:
    emulated_only(bench)
    timer = threading.Timer(0.01, bench.cable.unplug)  # type: ignore[union-attr]
    timer.start()
    with pytest.raises(PortLostError, match="the port is gone") as lost:
        for step in range(1, 500):
            session.train(step, image.sample(step).tobytes(), step % 10, 0.1)
    timer.join()
    threading.Timer(0.5, bench.cable.plug).start()  # type: ignore[union-attr]
    session.recover(lost.value)
    assert (session.welcome["applied"], session.welcome["dirty"]) == (0, 0)
