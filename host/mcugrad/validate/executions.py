"""The executions of a training step, each showing what it can of its tensors."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from mcugrad import interp
from mcugrad.codegen.c import write
from mcugrad.codegen.params import state_tensors, view
from mcugrad.config import EMULATED, BoardSection
from mcugrad.errors import InternalError
from mcugrad.hostmodel import HostModel
from mcugrad.ir import Graph, Value
from mcugrad.ir.graph import Array
from mcugrad.link.session import Session, early_marks
from mcugrad.pipeline import Compiled
from mcugrad.prepare import Prepared
from mcugrad.run import connected
from mcugrad.train import Tell

Tensors = Mapping[str, Array]
SEEN = "loss, prediction and every trained tensor after the step; this firmware sends no other"
PARTIAL = "all but what streams and tiles make, of which only some rows or channels exist at a time"
WHOLE = "every tensor"


@dataclass(frozen=True)
class Sample:
    """One training step: int8 [H,W,C], its label, the learning rate."""

    step: int
    x: Array
    label: int
    lr: float


class Execution(Protocol):
    """`step` trains on a sample -> tensors by name: values of the pass, trained ones after it."""

    name: str
    where: str
    shows: str

    def step(self, sample: Sample) -> Tensors: ...


@dataclass(frozen=True)
class Absent:
    """An execution that this machine cannot offer, and why."""

    name: str
    why: str


class Reference:
    """The numpy references of the op records: what the arithmetic is."""

    name, where, shows = "reference", "numpy", WHOLE

    def __init__(self, graph: Graph) -> None:
        self._graph, self._state = graph, interp.initial_state(graph)

    def step(self, sample: Sample) -> Tensors:
        inputs = {self._graph.inputs[0].name: sample.x} | interp.scalars(sample.label, sample.lr)
        env, self._state = interp.run(self._graph, inputs, self._state)
        return {name: env[name].copy() for name in seen(self._graph)}


class Torch:
    """The torch twin, one sample at a time."""

    name, shows = "torch", WHOLE

    def __init__(self, graph: Graph) -> None:
        self._graph, engine = graph, importlib.import_module("mcugrad.twin.engine")
        self._twin, self.where = engine.Twin(graph), f"torch {importlib.import_module('torch').__version__}"

    def step(self, sample: Sample) -> Tensors:
        values = self._twin.trace(sample.x[None], np.array([sample.label]), sample.lr)
        single = {n: v if v.shape == self._shape(n) else v[0] for n, v in values.items()}
        found = single | self._twin.state()
        return {n: found[n] for n in seen(self._graph)}

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._graph.value(name).shape


class HostC:
    """The generated C compiled for this machine."""

    name, where = "host C", "gcc, this machine"

    def __init__(self, compiled: Compiled, folder: Path) -> None:
        self._compiled, self._places = compiled, list(placed(compiled))
        self._model = HostModel(write(compiled.emitted, folder / "gen"), folder / "model.so")
        self.shows = PARTIAL if compiled.plan.partial else WHOLE

    def step(self, sample: Sample) -> Tensors:
        found: dict[str, Array] = {}

        def snapshot(node: int) -> None:
            for _, v, offset in (place for place in self._places if place[0] == node):
                found[v.name] = self._model.value(v.dtype, v.shape, offset)

        self._model.on_node(snapshot)
        result = self._model.step(sample.x, sample.label, sample.lr)
        results = _results(self._compiled.graph, result.loss, result.predicted)
        return found | self._model.state() | results


class Board:
    """The firmware, over its line: what it sends of a step."""

    shows = SEEN

    def __init__(self, session: Session, compiled: Compiled, name: str = "board") -> None:
        session.fresh()
        self.name, self.where = name, session.port.split("?")[0]
        self._session, self._compiled = session, compiled

    def step(self, sample: Sample) -> Tensors:
        result = self._session.train(sample.step, sample.x.tobytes(), sample.label, sample.lr)
        state = state_tensors(self._session.read_state(), self._compiled.manifest)
        return state | _results(self._compiled.graph, result["loss"], result["predicted"])


class Emulated(Board):
    """The firmware on the emulated board, which also keeps its RAM between two nodes."""

    def __init__(self, session: Session, compiled: Compiled) -> None:
        super().__init__(session, compiled, "emulated")
        self.shows, self._places = PARTIAL if compiled.plan.partial else WHOLE, list(placed(compiled))
        self._arena = session.control({"cmd": "symbol", "name": "mg_arena"})["address"]

    def step(self, sample: Sample) -> Tensors:
        first = early_marks(self._compiled.manifest["feeds"]) + 1  # and one before the first node
        spans = [(first + node, self._arena + offset, v.nbytes) for node, v, offset in self._places]
        self._session.control({"cmd": "trace", "spans": spans})
        tensors = super().step(sample)
        traced = self._session.control({"cmd": "traced"})
        expected = first + len(self._compiled.plan.order)
        if traced["marks"] != expected:
            raise InternalError(f"{traced['marks']} marks in a step of the emulated board, not {expected}")
        return {**self._values(traced["data"]), **tensors}

    def _values(self, data: list[str]) -> dict[str, Array]:
        kept = zip((v for _, v, _ in self._places), data, strict=True)
        return {v.name: view(bytes.fromhex(text), v.dtype.value, v.shape, 0) for v, text in kept}


def seen(graph: Graph) -> list[str]:
    """Names of all tensors of a step in order: what nodes write, then what is trained."""
    values = [name for node in graph.nodes for name in node.outs]
    return [*values, *(name for name, p in graph.params.items() if p.trained)]


def placed(compiled: Compiled) -> Iterator[tuple[int, Value, int]]:
    """(node that writes it, value, offset in the arena) of every tensor that exists whole."""
    plan, graph = compiled.plan, compiled.graph
    for i, node in enumerate(plan.order):
        for name in node.outs:
            if name in plan.offsets and name not in plan.partial:
                yield i, graph.value(name), plan.offsets[name]


def _results(graph: Graph, loss: float, predicted: int) -> dict[str, Array]:
    names = graph.outputs
    return {
        names["loss"]: np.array([loss], np.float32),
        names["predicted"]: np.array([predicted], np.int32),
    }


@contextmanager
def executions(ready: Prepared, tell: Tell) -> Iterator[tuple[list[Execution], list[Absent]]]:
    """Torch, host C, the emulated twin and, where the job names a port, the board; and what is absent."""
    compiled = ready.compiled
    with ExitStack() as held:
        folder = Path(held.enter_context(TemporaryDirectory()))
        found: list[Execution] = []
        absent = list(_absent(ready))
        missing = {a.name for a in absent}
        if "torch" not in missing:
            found.append(Torch(compiled.graph))
        if "host C" not in missing:
            found.append(HostC(compiled, folder))
        if "emulated" not in missing:
            twin = replace(ready, job=_on(ready, EMULATED))
            found.append(Emulated(held.enter_context(connected(twin, tell)), compiled))
        if "board" not in missing:
            found.append(Board(held.enter_context(connected(ready, tell)), compiled))
        yield found, absent


def _absent(ready: Prepared) -> Iterable[Absent]:
    if not _installed("torch"):
        yield Absent("torch", "torch is not installed: pip install 'mcugrad[compile]'")
    if shutil.which("gcc") is None:
        yield Absent("host C", "there is no C compiler: apt install gcc libc6-dev")
    if not _installed("unicorn"):
        yield Absent("emulated", "Unicorn is not installed: pip install 'mcugrad[emulator]'")
    if ready.port.startswith("emu://"):
        yield Absent("board", "no --port given")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _on(ready: Prepared, port: str) -> Any:
    return ready.job.model_copy(update={"board": BoardSection(id=ready.board.id, port=port)})
