"""The session against a fake board: exactly once on a bad line, and clear words for all that goes wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcugrad.errors import LinkError, MismatchError, NoBoardError, UserError
from mcugrad.link.identity import WrongFirmwareError
from mcugrad.link.line import PortLostError, RefusedError, SilenceError, Timing
from mcugrad.link.session import BoardResetError, Session
from tests.link.fake_board import FakeBoard, FakePort
from tests.link.noise import Noise

QUICK = Timing(answer=0.001, hello=0.001, tries=60, first_step=0.001, shortest_step=0.001)


def session_of(board: FakeBoard, noise: Noise | None = None, **changes) -> Session:
    return Session(FakePort(board, noise), "fake", replace(board.expected, **changes), timing=QUICK)


def samples(count: int, size: int, seed: int = 0) -> list[tuple[bytes, int]]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(-128, 128, size, np.int8).tobytes(), int(rng.integers(10))) for _ in range(count)]


def train_all(session: Session, data: list[tuple[bytes, int]]) -> list[float]:
    return [session.train(i + 1, x, y, 0.01)["loss"] for i, (x, y) in enumerate(data)]


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_each_step_is_applied_exactly_once_on_a_bad_line(rate: float, seed: int) -> None:
    data = samples(40, 3000, seed)
    clean, noisy = FakeBoard(3000), FakeBoard(3000, window=2200)
    losses = train_all(session_of(clean), data)
    session = session_of(noisy, Noise(rate, seed))
    assert train_all(session, data) == losses
    assert noisy.applied_log == list(range(1, 41))
    assert session.read_state() == clean.weights.tobytes()
    assert session.health.retries > 0


def test_evaluation_changes_nothing_and_survives_the_same_noise() -> None:
    board = FakeBoard(3000)
    session = session_of(board, Noise(0.1, 5))
    data = samples(20, 3000)
    train_all(session, data[:5])
    before = board.weights.tobytes()
    losses = [session.evaluate(x, y)["loss"] for x, y in data]
    clean = session_of(FakeBoard(3000))
    train_all(clean, data[:5])
    assert losses == [clean.evaluate(x, y)["loss"] for x, y in data]
    assert board.weights.tobytes() == before


def test_at_most_a_window_is_unanswered() -> None:
    board = FakeBoard(20_000, window=3000)
    session = Session(FakePort(board), "fake", board.expected, timing=replace(QUICK, tries=1))
    taken = []
    board.take = lambda data: (taken.append(len(data)), [])[1]  # type: ignore[method-assign]
    with pytest.raises(SilenceError):
        session.train(1, bytes(20_000), 0, 0.1)
    assert 1900 < sum(taken) <= 3000


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 5000), st.sampled_from([0.0, 0.02, 0.2]), st.integers(0, 1000))
def test_any_sample_passes_any_window(size: int, window: int, rate: float, seed: int) -> None:
    board = FakeBoard(size, window=window)
    session = session_of(board, Noise(rate, seed))
    sample = np.random.default_rng(seed).integers(-128, 128, size, np.int8).tobytes()
    assert session.train(1, sample, 3, 0.1)["applied"] == 1
    assert board.applied_log == [1]


def test_the_state_goes_out_and_comes_back_over_a_bad_line() -> None:
    first, second = FakeBoard(500), FakeBoard(500)
    one, two = session_of(first, Noise(0.05, 1)), session_of(second, Noise(0.05, 2))
    data = samples(20, 500)
    train_all(one, data[:10])
    two.write_state(one.read_state(), 10)
    rest = [s.train(11 + i, x, y, 0.02)["loss"] for s in (one, two) for i, (x, y) in enumerate(data[10:])]
    assert rest[:10] == rest[10:]
    assert first.weights.tobytes() == second.weights.tobytes()
    assert second.applied_log == list(range(11, 21))


def test_a_reset_in_the_middle_is_noticed_before_anything_is_trained_on_the_wrong_state() -> None:
    board = FakeBoard()
    session = session_of(board)
    data = samples(5, 64)
    train_all(session, data[:4])
    board.reset()
    with pytest.raises(BoardResetError):
        session.train(5, *data[4], 0.1)
    assert board.applied_log == [1, 2, 3, 4]


def test_a_reset_before_an_evaluation_is_noticed() -> None:
    board = FakeBoard()
    session = session_of(board)
    board.reset()
    with pytest.raises(BoardResetError):
        session.evaluate(bytes(64), 0)


def test_reset_on_request() -> None:
    board = FakeBoard()
    session = session_of(board, Noise(0.1, 3))
    train_all(session, samples(3, 64))
    session.reset()
    assert session.welcome["applied"] == 0
    assert not board.weights.any()
    train_all(session, samples(3, 64))


def test_unplugged() -> None:
    board = FakeBoard()
    port = FakePort(board)
    session = Session(port, "fake", board.expected, timing=QUICK)
    port.unplugged = True
    with pytest.raises(PortLostError, match="the port is gone"):
        session.train(1, bytes(64), 0, 0.1)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("hash", bytes(16), "another model"),
        ("board", "nucleo_h743zi", "this is a nucleo_h743zi"),
        ("proto", 99, "speaks protocol 99"),
    ],
)
def test_another_firmware_is_refused_before_the_first_sample(
    attribute: str, value: object, message: str
) -> None:
    board = FakeBoard()
    expected = board.expected
    setattr(board, attribute, value)
    with pytest.raises(WrongFirmwareError, match=message):
        Session(FakePort(board), "fake", expected, timing=QUICK)
    assert board.applied_log == []


def test_both_hashes_are_shown() -> None:
    board = FakeBoard()
    with pytest.raises(MismatchError) as error:
        session_of(board, model_hash="ff" * 16)
    assert "ff" * 16 in str(error.value)
    assert board.hash.hex() in str(error.value)
    assert "-t upload" in error.value.fix


def test_memory_that_is_not_the_plan_is_an_error() -> None:
    with pytest.raises(MismatchError, match="arena_bytes is 6000 on the board, 5999 in the plan"):
        session_of(FakeBoard(), arena_bytes=5999)


@pytest.mark.parametrize("label", [-1, 10, 70_000])
def test_a_wrong_label_trains_nothing(label: int) -> None:
    board = FakeBoard()
    with pytest.raises(UserError, match="has 10 classes"):
        session_of(board).train(1, bytes(64), label, 0.1)
    assert board.applied_log == []


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_wrong_size_trains_nothing(size: int) -> None:
    board = FakeBoard()
    with pytest.raises(UserError, match="the model takes 64"):
        session_of(board).train(1, bytes(size), 0, 0.1)
    assert board.applied_log == []


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1.0])
def test_a_wrong_learning_rate_trains_nothing(rate: float) -> None:
    board = FakeBoard()
    with pytest.raises(UserError, match="learning rate"):
        session_of(board).train(1, bytes(64), 0, rate)
    assert board.applied_log == []


def test_divergence_says_what_to_do() -> None:
    board = FakeBoard()
    board.diverge_at = 2
    session = session_of(board)
    session.train(1, bytes(64), 0, 0.1)
    with pytest.raises(UserError, match="no longer a number\n  where: step 2"):
        session.train(2, bytes(64), 0, 0.1)


def test_a_dirty_board_is_not_trained() -> None:
    board = FakeBoard()
    session = session_of(board)
    board.dirty = True
    with pytest.raises(RefusedError, match="DIRTY"):
        session.train(1, bytes(64), 0, 0.1)
    assert board.applied_log == []


def test_a_crash_is_told_in_words_and_the_next_session_starts_from_a_reset() -> None:
    board = FakeBoard()
    board.fault_at = 1
    session = session_of(board)
    with pytest.raises(LinkError, match="access to forbidden memory at 0x20000010"):
        session.train(1, bytes(64), 0, 0.1)
    board.fault_at = -1
    assert session_of(board).train(1, bytes(64), 0, 0.1)["applied"] == 1


def test_nobody_there() -> None:
    board = FakeBoard()
    board.take = lambda data: []  # type: ignore[method-assign]
    with pytest.raises(NoBoardError, match="nothing that speaks mcugrad"):
        Session(FakePort(board), "fake", board.expected, timing=replace(QUICK, tries=2))
