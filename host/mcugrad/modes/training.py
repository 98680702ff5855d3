"""Whole trainings of one scheme as generated C on this machine; images run through the frozen front once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from mcugrad.codegen.c import write
from mcugrad.config import Job
from mcugrad.divergence import Divergence
from mcugrad.hostmodel import HostModel
from mcugrad.ir.graph import Array
from mcugrad.pipeline import Compiled
from mcugrad.sources.source import Samples, Split
from mcugrad.train import order, rate
from mcugrad.tuning import Score, climbed

VALIDATION = 5  # every fifth training image judges the learning rate
PROBES = 5  # steps of a training that the board takes too
CLIMB = 2  # further rates tried where the best is the first or the last


@dataclass(frozen=True)
class Probe:
    """One step of a training: trained state before and after it, sample, label, rate."""

    before: bytes
    after: bytes
    x: Array
    label: int
    lr: float


@dataclass(frozen=True)
class Part:
    """Images past the frozen front, with their labels."""

    fronts: list[bytes]
    labels: list[int]

    @classmethod
    def of(cls, model: HostModel, samples: Samples) -> Part:
        return cls([model.front(x) for x, _ in samples], [int(label) for label in samples.labels])

    def some(self, chosen: Array) -> Part:
        return Part(*([of[i] for i in np.flatnonzero(chosen)] for of in (self.fronts, self.labels)))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.labels)


class Trainer:
    """Trains the compiled scheme again and again, each time from the shipped weights."""

    def __init__(self, compiled: Compiled, split: Split, job: Job, folder: Path, console: Console) -> None:
        self._model = HostModel(write(compiled.emitted, folder / "gen"), folder / "model.so")
        self._shipped = self._model.state_bytes()
        self._job, self._split, self._console = job, split, console
        self._train, self._test = (Part.of(self._model, samples) for samples in (split.train, split.test))

    def best(self, rates: Sequence[float]) -> float:
        """The rate that is best on the validation images; beyond the ends of `rates` it climbs on."""
        judges = np.arange(len(self._train)) % VALIDATION == 0
        learn, held_out = self._train.some(~judges), self._train.some(judges)

        def score(lr: float) -> Score:
            reached = self._run(learn, held_out, lr, f"lr {lr:g}")
            self._console.print(
                f"  lr {lr:g}: {'diverged' if reached is None else f'{reached:.1%}'} (validation)"
            )
            return () if reached is None else (reached,)

        return climbed(rates, score, CLIMB)

    def train(self, lr: float) -> tuple[float, float | None, list[Probe]]:
        """Held-out accuracy before and after (None: diverged), and the steps that a board shall take."""
        self._model.restore(self._shipped)
        before, _ = self._judge(self._test)
        probes: list[Probe] = []
        after = self._run(self._train, self._test, lr, f"training, lr {lr:g}", probes)
        return before, after, probes

    def _run(
        self, learn: Part, held_out: Part, lr: float, about: str, probes: list[Probe] | None = None
    ) -> float | None:
        self._model.restore(self._shipped)
        plan, seed, size = self._job.train.model_copy(update={"lr": lr}), self._job.data.seed, len(learn)
        total, watch = plan.epochs * size, Divergence(len(self._split.classes), self._judge(held_out)[1])
        probed = set(np.linspace(0, total - 1, PROBES).astype(int)) if probes is not None else set()
        quiet = not self._console.is_terminal
        with Progress(console=self._console, transient=True, disable=quiet) as progress:
            task = progress.add_task(about, total=total)
            for step in range(total):
                i = order(seed, step // size, size)[step % size]
                now = rate(step + 1, total, plan)
                before = self._model.state_bytes() if step in probed else b""
                if watch.at(self._model.step_from(learn.fronts[i], learn.labels[i], now).loss):
                    return None
                if probes is not None and step in probed:
                    x, label = self._split.train[i]
                    probes.append(Probe(before, self._model.state_bytes(), x, label, now))
                progress.advance(task)
        return self._judge(held_out)[0]

    def _judge(self, part: Part) -> tuple[float, float]:
        """Share of the images that the model predicts, mean loss."""
        pairs = zip(part.fronts, part.labels, strict=True)
        results = [(label, self._model.forward_from(front, label)) for front, label in pairs]
        loss = math.fsum(r.loss for _, r in results) / len(results)
        return sum(label == r.predicted for label, r in results) / len(results), loss
