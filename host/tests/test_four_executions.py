"""One training, four executions: numpy reference == generated C == torch twin == firmware on the board.

Loss and prediction of every step and the whole state at marks and at the end, along the shuffled order and
the schedule of a real run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from mcugrad import boards, interp, pipeline
from mcugrad.build import build
from mcugrad.codegen.c import write
from mcugrad.codegen.params import state_tensors
from mcugrad.config import BoardSection, Job, TrainSection
from mcugrad.errors import UserError
from mcugrad.hostmodel import HostModel
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.link.session import Session
from mcugrad.ops.op import scale_states
from mcugrad.pipeline import Compiled
from mcugrad.prepare import Prepared
from mcugrad.run import connected
from mcugrad.sources import Split, open_source
from mcugrad.train import order, rate
from mcugrad.twin import Twin

pytest.importorskip("unicorn")

Found = tuple[bytes, int]  # loss as float32, predicted class
State = dict[str, Array]


@dataclass(frozen=True)
class Case:
    """A training of `steps` steps; the board takes the first `on_board`. States are compared every `mark`."""

    model: str
    scheme: str
    data: str
    board: str
    lr: float
    steps: int
    on_board: int
    mark: int


# A rate at which some gradients clip.
DEFAULT = Case("digits-tiny", "10kb", "paper-digits", "nucleo_f746zg", 0.3, 1000, 1000, 100)
DYNAMIC = Case("digits-tiny", "dynamic:1/8..1 full", "paper-digits", "nucleo_f746zg", 0.2, 60, 60, 20)
MCUNET = Case("mcunet-5fps", "99kb", "flowers102", "nucleo_f746zg", 0.012, 100, 20, 20)


class Execution(Protocol):
    def step(self, x: Array, label: int, lr: float) -> Found: ...
    def state(self) -> State: ...


class Reference:
    def __init__(self, graph: Graph) -> None:
        self._graph, self._state = graph, interp.initial_state(graph)

    def step(self, x: Array, label: int, lr: float) -> Found:
        env, self._state = interp.run(self._graph, {"x": x} | interp.scalars(label, lr), self._state)
        return env["loss"].tobytes(), int(env["predicted"][0])

    def state(self) -> State:
        return self._state


class HostC:
    def __init__(self, model: HostModel) -> None:
        self._model, self.state = model, model.state

    def step(self, x: Array, label: int, lr: float) -> Found:
        result = self._model.step(x, label, lr)
        return np.float32(result.loss).tobytes(), result.predicted


class Torch:
    def __init__(self, graph: Graph) -> None:
        self._twin = Twin(graph)
        self.state = self._twin.state

    def step(self, x: Array, label: int, lr: float) -> Found:
        loss, predicted = self._twin.step(x[None], np.array([label]), lr)
        return loss.tobytes(), int(predicted[0])


class Board:
    def __init__(self, session: Session, manifest: Any) -> None:
        self._session, self._manifest, self._done = session, manifest, 0

    def step(self, x: Array, label: int, lr: float) -> Found:
        self._done += 1
        result = self._session.train(self._done, x.tobytes(), label, lr)
        return np.float32(result["loss"]).tobytes(), result["predicted"]

    def state(self) -> State:
        return state_tensors(self._session.read_state(), self._manifest)


def compiled_case(case: Case) -> tuple[Compiled, Split]:
    """The training step and the images; skips where the data or the model is not on this machine."""
    try:
        source = open_source(case.data)
        board = boards.load(case.board)
        compiled = pipeline.compile_job(case.model, case.scheme, board, len(source.classes))
        height, width, channels = compiled.manifest["input"]["shape"]
        return compiled, source.split((height, width, channels))
    except UserError as absent:
        pytest.skip(str(absent))


@contextmanager
def board(case: Case, compiled: Compiled, split: Split, folder: Path) -> Iterator[Board]:
    elf = build(case.board, folder / "gen", folder / "out")
    job = Job(board=BoardSection(id=case.board))
    ready = Prepared(job, boards.load(case.board), compiled, elf, split)
    with connected(ready, lambda event: None) as session:
        yield Board(session, compiled.manifest)


def schedule(case: Case, split: Split) -> Iterator[tuple[int, Array, int, float]]:
    """(step from 1, sample, label, rate), as `mcugrad train` has them."""
    plan, chosen = TrainSection(lr=case.lr), order(0, 0, len(split.train))
    for step in range(1, case.steps + 1):
        yield step, *split.train[chosen[step - 1]], rate(step, case.steps, plan)


def assert_same_states(executions: dict[str, Execution], step: int) -> State:
    states = {name: execution.state() for name, execution in executions.items()}
    first = states["reference"]
    for name, state in states.items():
        assert state.keys() == first.keys(), f"step {step}: {name}"
        for tensor, data in state.items():
            same = np.array_equal(data, first[tensor]) and data.dtype == first[tensor].dtype
            assert same, f"step {step}: {tensor} of {name}"
    return first


def assert_it_was_a_training(graph: Graph, end: State) -> None:
    """Equality says little of weights that stand still."""
    scales = scale_states(graph)
    still = [n for n, v in interp.initial_state(graph).items() if n not in scales and (v == end[n]).all()]
    assert not still


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, which wait for each other where the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", [DEFAULT, DYNAMIC, MCUNET], ids=lambda c: f"{c.model}-{c.steps}-steps")
def test_every_bit_is_the_same_in_all_four(case: Case, tmp_path: Path) -> None:
    compiled, split = compiled_case(case)
    gen = write(compiled.emitted, tmp_path / "gen")
    with ExitStack() as open_boards:
        executions: dict[str, Execution] = {
            "reference": Reference(compiled.graph),
            "host C": HostC(HostModel(gen, tmp_path / "model.so")),
            "torch twin": Torch(compiled.graph),
            "board": open_boards.enter_context(board(case, compiled, split, tmp_path)),
        }
        for step, x, label, lr in schedule(case, split):
            found = {name: execution.step(x, label, lr) for name, execution in executions.items()}
            assert len(set(found.values())) == 1, f"step {step}: {found}"
            if step % case.mark == 0 or step in (case.on_board, case.steps):
                end = assert_same_states(executions, step)
            if step == case.on_board:
                del executions["board"]
    assert_it_was_a_training(compiled.graph, end)
    clipped = sum(int(end[name][2]) for name in scale_states(compiled.graph))
    assert clipped or case is not DEFAULT, "nor of sums that never reach their limits"
