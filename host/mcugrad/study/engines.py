"""The two that can train a case: generated C, which is the device's arithmetic, and the torch twin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from mcugrad.codegen.c import emit, write
from mcugrad.config import Update
from mcugrad.hostmodel import HostModel
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.pipeline import lowered
from mcugrad.plan.memory import plan
from mcugrad.study.case import Case
from mcugrad.twin.batches import judged
from mcugrad.twin.engine import Twin, chosen
from mcugrad.twin.front import split

Rows = Mapping[str, Array]


class Engine(Protocol):
    """A training from the frozen front's outputs on (images.Part.take gives them)."""

    front: Graph

    def step(self, rows: Rows, labels: Array, lr: float) -> Array:
        """Train on a batch -> losses [n]."""
        ...

    def judge(self, rows: Rows, labels: Array) -> tuple[Array, Array]:
        """Losses [n] and predictions [n]; changes nothing."""
        ...

    def save(self) -> dict[str, Array]:
        """All that `load` needs to go on from here."""
        ...

    def load(self, state: Mapping[str, Array]) -> None: ...


class HostC:
    """The firmware's generated C compiled for this machine; one sample a step.

    Nothing is cut into tiles: that saves memory, changes no bit, and takes four times as long here.
    """

    def __init__(self, graph: Graph) -> None:
        self.front, _ = split(graph)
        graph = lowered(graph)
        placed = plan(graph, exact=False, tiled=False)
        with TemporaryDirectory() as name:
            gen, library = Path(name) / "gen", Path(name) / "model.so"
            self._model = HostModel(write(emit(graph, placed), gen), library)
        self.start = self.save()
        names = {placed.offsets[name]: name for name in self.front.outputs}
        self._crossing = [names[offset] for offset, _ in self._model.manifest["front"]["spans"]]

    def step(self, rows: Rows, labels: Array, lr: float) -> Array:
        return np.array([self._model.step_from(x, label, lr).loss for x, label in self._each(rows, labels)])

    def judge(self, rows: Rows, labels: Array) -> tuple[Array, Array]:
        found = [self._model.forward_from(x, label) for x, label in self._each(rows, labels)]
        return np.array([r.loss for r in found]), np.array([r.predicted for r in found])

    def save(self) -> dict[str, Array]:
        return {"state": np.frombuffer(self._model.state_bytes(), np.uint8)}

    def load(self, state: Mapping[str, Array]) -> None:
        self._model.restore(state["state"].tobytes())

    def _each(self, rows: Rows, labels: Array) -> Iterator[tuple[bytes, int]]:
        for i, label in enumerate(labels):
            yield b"".join(rows[name][i].tobytes() for name in self._crossing), int(label)


class Torch:
    """The twin, which also computes what no device does: batches, momentum, fp32 gradients, no QAS."""

    def __init__(self, graph: Graph, case: Case, device: str) -> None:
        self.front, rest = split(graph)
        self._twin = Twin(rest, chosen(device), case.gradients, case.qas, case.momentum)

    def step(self, rows: Rows, labels: Array, lr: float) -> Array:
        return self._twin.step(rows, labels, lr)[0]

    def judge(self, rows: Rows, labels: Array) -> tuple[Array, Array]:
        return judged(self._twin, rows, labels)

    def save(self) -> dict[str, Array]:
        return self._twin.state()

    def load(self, state: Mapping[str, Array]) -> None:
        self._twin.load(state)


def engine(case: Case, classes: int, device: str) -> Engine:
    """What computes the case, at its start: the C wherever a device could, else the twin."""
    if not case.on_device:
        return Torch(case.graph(classes), case, device)
    learner = _compiled(case.model, case.scheme, case.update, case.seed, classes)
    learner.load(learner.start)
    return learner


@lru_cache(maxsize=1)
def _compiled(model: str, scheme: str, update: Update, seed: int, classes: int) -> HostC:
    """The same C for all rates: compiling takes as long as a short training."""
    return HostC(Case(model=model, scheme=scheme, update=update, seed=seed).graph(classes))
