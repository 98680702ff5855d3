"""The line: who answers, what is refused, and that a step is applied once."""

from __future__ import annotations

import pytest

from hil_tests.rig import Bench, Image
from mcugrad import boards
from mcugrad.errors import MismatchError, UserError
from mcugrad.link.session import Session


def test_the_board_says_who_it_is(image: Image, session: Session) -> None:
    welcome, board = session.welcome, boards.load(image.board)
    assert (welcome["board"], welcome["cpu_hz"]) == (board.id, board.cpu_hz)
    assert welcome["model_hash"].hex() == image.compiled.manifest["hash"]


def test_the_line_is_clean(image: Image, session: Session) -> None:
    """Ten steps at the full rate without one damaged frame, overrun or repeat."""
    for step in range(1, 11):
        result = session.train(step, image.sample(step).tobytes(), step % 10, 0.01)
    health = session.health
    assert (result["crc_errors"], result["overruns"]) == (0, 0)
    assert (health.crc_errors, health.retries) == (0, 0)


def test_nothing_that_only_a_chip_would_refuse(bench: Bench, image: Image, session: Session) -> None:
    """DMA behind the data cache, a clock that is off, a wrong rate: the twin reports what it forgives."""
    if bench.cable is None:
        pytest.skip("a real board does not forgive")
    session.train(1, image.sample(1).tobytes(), 3, 0.01)
    found = bench.cable.control({"cmd": "faults"})
    assert (found["faults"], found["reports"]) == ([], [])


def test_a_step_is_applied_once(image: Image, session: Session) -> None:
    x = image.sample(1).tobytes()
    first = session.train(1, x, 3, 0.01)
    state = session.read_state()
    again = session.train(1, x, 3, 0.01)
    assert again["loss"] == first["loss"] and session.read_state() == state


def test_bad_input_changes_nothing(image: Image, session: Session) -> None:
    before, x = session.read_state(), image.sample(4).tobytes()
    for bad, label, lr in ((x[:-1], 0, 0.1), (x, 10, 0.1), (x, 0, float("nan")), (x, 0, -1.0)):
        with pytest.raises(UserError):
            session.train(1, bad, label, lr)
    assert session.read_state() == before


def test_another_model_is_refused(bench: Bench, image: Image) -> None:
    with pytest.raises(MismatchError, match="another model"):
        bench.connect(image, model_hash="f" * 32).close()
