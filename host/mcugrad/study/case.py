"""One training as data, and the file of results that remembers which were run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcugrad import pipeline, records
from mcugrad.codegen.c import ARITHMETIC
from mcugrad.config import Update
from mcugrad.frontend import models
from mcugrad.ir import Graph
from mcugrad.passes.schemes import analytic_memory, scheme_for

FILE = "results.jsonl"


@dataclass(frozen=True)
class Case:
    """All that decides the figures. With batch 1, integer gradients and QAS, a board trains to these weights.

    data: a source's name, or several with '>' between them, learned one after the other; epochs: of each.
    gradients: "integer" (the device's) or "fp32"; update: how weights are kept (ops/update.py).
    flip: half of the images mirrored, other ones each epoch. lr: the highest of warm-up and cosine.
    judge "validation": every fifth training image is judged instead of trained on, to tune the rate by.
    """

    model: str = "digits-tiny"
    data: str = "paper-digits"
    scheme: str = "10kb"
    update: Update = "8.8"
    gradients: str = "integer"
    qas: bool = True
    epochs: tuple[int, ...] = (1,)
    lr: float = 0.02
    batch: int = 1
    momentum: float = 0.0
    seed: int = 0
    flip: bool = False
    judge: str = "test"

    @property
    def sources(self) -> list[str]:
        return self.data.split(">")

    @property
    def on_device(self) -> bool:
        """Whether the board's own C computes it."""
        return (self.gradients, self.qas, self.batch, self.momentum) == ("integer", True, 1, 0.0)

    def graph(self, classes: int) -> Graph:
        """The training step that the board would run."""
        forward = models.load(self.model, classes, self.seed)
        return pipeline.training_graph(forward, self.scheme, update=self.update, seed=self.seed)

    def extra_memory(self, classes: int) -> int:
        """What the scheme adds to the memory of inference, as the paper counts it; bytes."""
        forward = models.load(self.model, classes, self.seed)
        return analytic_memory(forward, scheme_for(forward, self.scheme))


class Results:
    """One JSON line a case; a line that a kill cut off does not count.

    Nor does a judged training on the device whose bits today's arithmetic would not give; the rates that were
    found with an earlier one do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[dict[str, Any]]:
        """Every whole line that counts, its case as a Case."""
        lines = ({**line, "case": _case(line["case"])} for line in records.read(self.path))
        return [line for line in lines if not _stale(line)]

    def of(self, case: Case) -> dict[str, Any] | None:
        return next((r for r in self.all() if r["case"] == case), None)

    def add(self, case: Case, figures: Mapping[str, Any]) -> None:
        records.append(self.path, {"case": asdict(case), "arithmetic": ARITHMETIC, **figures})


def _case(about: Mapping[str, Any]) -> Case:
    return Case(**{**about, "epochs": tuple(about["epochs"])})


def _stale(line: Mapping[str, Any]) -> bool:
    case: Case = line["case"]
    return case.on_device and case.judge == "test" and line.get("arithmetic") != ARITHMETIC
