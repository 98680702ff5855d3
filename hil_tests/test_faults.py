"""Training through what a bench does to a board: the weights end as if nothing had happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hil_tests import rig
from hil_tests.cable import Cable, DropFrames, Garbage
from hil_tests.rig import Bench, Image
from mcugrad.config import TrainSection
from mcugrad.link.line import Timing
from mcugrad.sources import Split, open_source
from mcugrad.telemetry import Telemetry
from mcugrad.train import Trainer

# A damaged frame costs an answer's wait, so the wait is short where there are such.
QUICK = Timing(answer=0.08, hello=0.3, tries=60, first_step=2.0, shortest_step=0.3)
Told = dict[str, int]
Fault = Callable[[Cable], Callable[[dict[str, Any]], None]]


@pytest.fixture(scope="session")
def split(pytestconfig: pytest.Config) -> Split:
    """500 steps with --long, as at night."""
    pytest.importorskip("sklearn", reason="pip install 'mcugrad[demo]'")
    steps = 500 if pytestconfig.getoption("long") else 50
    return open_source("paper-digits", 0).split((28, 28, 1)).some(steps, 2, 0)


@pytest.fixture
def own(bench: Bench, image: Image) -> Any:
    """An emulated board of its own, so that its faults hit nobody else."""
    if bench.cable is None:
        pytest.skip("disturbs the line by software: an emulated board only")
    made = rig.emulate(image, bench.log.parent, f"faults-{bench.log.stem}")
    yield made
    made.close()


def train(
    bench: Bench, image: Image, split: Split, folder: Path, hurt: Fault | None = None
) -> tuple[bytes, Told]:
    """The final state, and how often each event was told."""
    log, told = Telemetry.create(folder / "run.sqlite"), Told()
    session = bench.connect(image)
    session.reset()
    assert bench.cable
    act = hurt(bench.cable) if hurt else lambda event: None

    def tell(event: dict[str, Any]) -> None:
        told[event["event"]] = told.get(event["event"], 0) + 1
        act(event)

    plan = TrainSection(epochs=1, lr=0.02, evaluate=0, checkpoint=50)
    state = Trainer(session, split, plan, 0, log, tell).run().state
    told["retries"] = session.health.retries
    session.close()
    log.close()
    return state, told


def at(share: float, action: Callable[[], Any]) -> Callable[[dict[str, Any]], None]:
    """Does something once, after a share of the steps, while the next one's sample goes out."""
    todo = [action]

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] >= share * event["total"] and todo:
            threading.Timer(0.003, todo.pop()).start()

    return act


def unplug(cable: Cable) -> Callable[[dict[str, Any]], None]:
    def pull() -> None:
        cable.unplug()
        threading.Timer(0.5, cable.plug).start()

    return at(0.47, pull)


def reset(cable: Cable) -> Callable[[dict[str, Any]], None]:
    return at(0.67, lambda: cable.control({"cmd": "reset"}))


def hang(cable: Cable) -> Callable[[dict[str, Any]], None]:
    return at(0.24, lambda: cable.control({"cmd": "hang"}))


def garbage(cable: Cable) -> Callable[[dict[str, Any]], None]:
    cable.to_board, cable.to_host = Garbage(0.02, 1), Garbage(0.02, 2)
    return lambda event: None


def drop(cable: Cable) -> Callable[[dict[str, Any]], None]:
    """A tenth of the frames, both ways."""
    cable.to_board, cable.to_host = DropFrames(0.1, 1), DropFrames(0.1, 2)
    return lambda event: None


@pytest.fixture(scope="session")
def undisturbed() -> dict[str, bytes]:
    """Final state by board id, trained once."""
    return {}


EXPECTED = {unplug: "unplugged", reset: "reset", hang: "reset", garbage: "retries", drop: "retries"}


@pytest.mark.parametrize("hurt", EXPECTED, ids=lambda f: f.__name__)
def test_training_ends_with_the_same_weights(
    hurt: Fault, own: Bench, image: Image, split: Split, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    if image.board not in undisturbed:
        (tmp_path / "clean").mkdir()
        undisturbed[image.board], told = train(own, image, split, tmp_path / "clean")
        assert (told["step"], told["retries"]) == (len(split.train), 0)
    own.timing = QUICK
    state, told = train(own, image, split, tmp_path, hurt)
    assert state == undisturbed[image.board]
    assert told[EXPECTED[hurt]] >= 1, "nothing was disturbed"
