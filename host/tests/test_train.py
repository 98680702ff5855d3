"""The training loop on a fake board: a stopped run that is resumed ends as one that never stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcugrad.config import TrainSection
from mcugrad.errors import DivergedError, LinkError, MismatchError
from mcugrad.link.line import PortLostError, Timing
from mcugrad.link.session import Session
from mcugrad.sources import Samples, Split
from mcugrad.telemetry import Checkpoint, Telemetry
from mcugrad.train import Outcome, Trainer, order, rate
from tests.link.fake_board import FakeBoard, FakePort
from tests.link.noise import Noise

QUICK = Timing(answer=0.001, hello=0.001, tries=60, first_step=0.001, shortest_step=0.001)
PLAN = TrainSection(epochs=3, lr=0.1, checkpoint=7, evaluate=25)
Event = dict[str, Any]


def split(train: int = 40, test: int = 20) -> Split:
    """Ten noisy patterns to tell apart."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (10, 8, 8, 1))
    labels = np.arange(train + test) % 10
    pixels = np.clip(patterns[labels] + rng.normal(0, 60, (train + test, 8, 8, 1)), 0, 255).astype(np.uint8)
    return Split(
        Samples(pixels[:train], labels[:train]), Samples(pixels[train:], labels[train:]), tuple("0123456789")
    )


class Run:
    """One run's database and the board it runs on."""

    def __init__(self, path: Path, board: FakeBoard | None = None, noise: Noise | None = None) -> None:
        self.path, self.board, self.events = path, board or FakeBoard(), list[Event]()
        self.port = FakePort(self.board, noise)

    def go(self, tell: Callable[[Event], None] = lambda event: None, plan: TrainSection = PLAN) -> Outcome:
        log = Telemetry.open(self.path) if self.path.exists() else Telemetry.create(self.path, manifest={})
        session = Session(self.port, "fake", self.board.expected, timing=QUICK)
        try:
            return Trainer(
                session, split(), plan, 1, log, lambda e: (self.events.append(e), tell(e))[1]
            ).run()
        finally:
            log.close()

    def losses(self) -> list[float]:
        log = Telemetry.open(self.path)
        rows = log.table("steps")
        log.close()
        assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
        return [row["loss"] for row in rows]


def at(step: int, action: Callable[[], None]) -> Callable[[Event], None]:
    """Do something once, when that step has been reported."""
    due = [True]

    def tell(event: Event) -> None:
        if event["event"] == "step" and event["step"] == step and due:
            due.clear()
            action()

    return tell


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Outcome, list[float]]:
    run = Run(tmp_path / "whole.sqlite")
    return run.go(), run.losses()


def test_it_learns_and_reports(tmp_path: Path) -> None:
    run = Run(tmp_path / "t.sqlite")
    outcome = run.go()
    assert outcome.after > 0.9 > 0.3 > outcome.before
    assert outcome.state == run.board.weights.tobytes()
    assert run.board.applied_log == list(range(1, 121))
    steps = [e for e in run.events if e["event"] == "step"]
    assert len(steps) == steps[-1]["step"] == steps[-1]["total"] == 120
    assert steps[-1]["smooth_loss"] < steps[5]["smooth_loss"]
    assert steps[-1]["peak_sram"] == 10_000
    assert [e["step"] for e in run.events if e["event"] == "eval"] == [0, 25, 40, 50, 75, 80, 100, 120]
    log = Telemetry.open(tmp_path / "t.sqlite")
    assert [row["cycles"] for row in log.table("nodes")] == [0, 2047, 2 * 1023, 1024 << 21]  # MARKS, unpacked
    log.close()


@pytest.mark.parametrize("step", [1, 7, 30, 40, 41, 119])
def test_an_unplugged_run_resumes_to_the_same_weights(tmp_path: Path, whole: Any, step: int) -> None:
    run = Run(tmp_path / "t.sqlite")
    with pytest.raises(PortLostError):
        run.go(at(step, lambda: setattr(run.port, "unplugged", True)))
    again = Run(run.path, FakeBoard())
    assert (again.go(), again.losses()) == whole
    kept = max(c for c in range(step) if c % 7 == 0 or c % 40 == 0)
    assert again.board.applied_log == list(range(kept + 1, 121))


def test_the_same_board_still_running_is_set_back(tmp_path: Path, whole: Any) -> None:
    run = Run(tmp_path / "t.sqlite")
    with pytest.raises(PortLostError):
        run.go(at(33, lambda: setattr(run.port, "unplugged", True)))
    run.port.unplugged = False
    assert (run.go(), run.losses()) == whole


@pytest.mark.parametrize("step", [1, 20, 39, 40, 80, 118])
def test_a_reset_board_gets_its_state_back_and_training_goes_on(
    tmp_path: Path, whole: Any, step: int
) -> None:
    run = Run(tmp_path / "t.sqlite")
    assert (run.go(at(step, run.board.reset)), run.losses()) == whole
    assert [e["event"] for e in run.events].count("reset") == 1


def test_a_board_that_keeps_resetting_is_given_up(tmp_path: Path) -> None:
    run = Run(tmp_path / "t.sqlite")

    def tell(event: Event) -> None:
        if event["event"] == "step":
            run.board.reset()

    with pytest.raises(LinkError, match="reset in the middle"):
        run.go(tell)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_noisy_line_changes_no_bit(tmp_path: Path, whole: Any, seed: int) -> None:
    run = Run(tmp_path / "t.sqlite", noise=Noise(0.05, seed))
    assert (run.go(), run.losses()) == whole
    assert run.board.applied_log == list(range(1, 121))


def test_noise_resets_and_a_pulled_cable_together(tmp_path: Path, whole: Any) -> None:
    run = Run(tmp_path / "t.sqlite", noise=Noise(0.05, 9))
    at_50 = at(50, lambda: setattr(run.port, "unplugged", True))
    at_20 = at(20, run.board.reset)
    with pytest.raises(PortLostError):
        run.go(lambda event: (at_20(event), at_50(event))[0])
    again = Run(run.path, noise=Noise(0.05, 10))
    assert (again.go(at(100, again.board.reset)), again.losses()) == whole


def test_a_board_trained_before_starts_from_its_flash(tmp_path: Path, whole: Any) -> None:
    run = Run(tmp_path / "one.sqlite")
    run.go()
    second = Run(tmp_path / "two.sqlite", run.board)
    assert (second.go(), second.losses()) == whole


def with_losses(board: FakeBoard, loss: Callable[[int], float]) -> None:
    """Have the board report loss(step) of training steps instead of its own."""
    learn = board._learn

    def tell(train: Any, x: Any) -> Any:
        answer = learn(train, x)
        new = {"loss": loss(train["step"])} if train["mode"] else {}
        return replace(answer, fields={**answer.fields, **new})

    board._learn = tell  # type: ignore[method-assign]


def test_a_loss_that_is_no_number_ends_the_run_at_its_step(tmp_path: Path) -> None:
    run = Run(tmp_path / "t.sqlite")
    run.board.diverge_at = 20
    with pytest.raises(DivergedError, match="the loss is no longer a number") as error:
        run.go()
    assert error.value.where == "step 20 of 120, at learning rate 0.0968 (--lr 0.1)"
    assert error.value.fix.endswith("--lr 0.01")
    assert len(run.losses()) == 19


def test_an_exploding_loss_ends_the_run_at_its_step(tmp_path: Path) -> None:
    run = Run(tmp_path / "t.sqlite")
    with_losses(run.board, lambda step: 1e9 if step == 31 else 1.0)
    with pytest.raises(DivergedError, match="the smoothed loss, 5e\\+07, is over 10 times"):
        run.go()
    assert run.losses()[-1] == 1e9 and len(run.losses()) == 31


def test_the_good_state_is_from_before_the_divergence(tmp_path: Path) -> None:
    run, states = Run(tmp_path / "t.sqlite"), dict[int, bytes]()
    with_losses(run.board, lambda step: 3 - step / 30 if step <= 58 else 60.0)
    with pytest.raises(DivergedError):
        run.go(lambda event: states.update({event.get("step", 0): run.board.weights.tobytes()}))
    log = Telemetry.open(run.path)
    good, last = log.good_checkpoint(), log.last_checkpoint()
    log.close()
    assert last and last.step == 63
    assert good == Checkpoint(35, states[35]), "the last one that 20 good steps followed"


def test_a_resumed_run_has_the_same_judge(tmp_path: Path) -> None:
    """The smoothed loss goes on from the steps before the cut."""
    steps = []
    for cut in (None, 60):
        run = Run(tmp_path / f"{cut}.sqlite")
        with_losses(run.board, lambda step: 1.0 if step < 50 else 40.0)
        if cut:
            with pytest.raises(PortLostError):
                run.go(at(cut, lambda run=run: setattr(run.port, "unplugged", True)))  # type: ignore[misc]
            run.port.unplugged = False
        with pytest.raises(DivergedError):
            run.go()
        steps.append(len(run.losses()))
    assert steps[0] == steps[1] > 60


def test_memory_that_changes_in_the_run_is_an_error(tmp_path: Path) -> None:
    run = Run(tmp_path / "t.sqlite")
    learn = run.board._learn

    def more(train: Any, x: Any) -> Any:
        answer = learn(train, x)
        return replace(answer, fields={**answer.fields, "static_bytes": 4001})

    run.board._learn = more  # type: ignore[method-assign]
    with pytest.raises(MismatchError, match="static_bytes is 4001"):
        run.go()


def test_the_rate_rises_then_falls() -> None:
    plan = TrainSection(lr=1.0, warmup=0.1, final=0.0)
    rates = [rate(i, 100, plan) for i in range(1, 101)]
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert rates[10] == 1.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.01
    assert rate(1, 1, plan) == 1.0


def test_every_epoch_has_every_sample_once_in_its_own_order() -> None:
    assert sorted(order(0, 0, 100)) == list(range(100))
    assert order(0, 0, 100) != order(0, 1, 100) != order(1, 1, 100)
