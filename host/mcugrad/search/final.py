"""Schemes trained for real and compared: each at the best of several rates, on validation or test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad import records
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.search.gains import CLASSES, Tell, Training
from mcugrad.search.short import Short, earliest


@dataclass(frozen=True)
class Score:
    """Mean and standard deviation over the seeds, as shares of the judging images, at the tuned rate."""

    scheme: str
    lr: float
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0


class Trials:
    """Trainings that the file `out` remembers, so that none is run twice."""

    def __init__(self, training: Training, schemes: Sequence[str], out: Path, tell: Tell) -> None:
        self.training, self.schemes, self.out, self.tell = training, schemes, out, tell
        forward = models.load(training.model, CLASSES)
        self._first = earliest(forward, list(schemes))
        self._short: Short | None = None

    def compare(self, rates: Sequence[float], seeds: int, judge: str) -> list[Score]:
        """The schemes, the most accurate first; rates are tuned with seed 0 on validation images."""
        return sorted((self._score(s, rates, seeds, judge) for s in self.schemes), key=lambda s: -s.mean)

    def _score(self, scheme: str, rates: Sequence[float], seeds: int, judge: str) -> Score:
        tuned = {lr: self._run(scheme, lr, 0, "validation") for lr in rates}
        fine = [lr for lr in rates if not tuned[lr]["diverged"]]
        if not fine:
            raise UserError(f"scheme '{scheme}' diverges at every rate", "--rates", "give lower rates")
        # Mean loss is finer than a count of right answers, and accuracy is what is asked for.
        best = max(fine, key=lambda lr: (tuned[lr]["accuracy"], -tuned[lr]["loss"]))
        runs = [self._run(scheme, best, seed, judge) for seed in range(seeds)]
        score = Score(scheme, best, tuple(run["accuracy"] for run in runs))
        self.tell(f"{scheme}: {score.mean:.1%} +- {score.spread:.1%}, rate {best:g}, {seeds} seeds, {judge}")
        return score

    def _run(self, scheme: str, lr: float, seed: int, judge: str) -> dict[str, Any]:
        case = asdict(self.training) | {"scheme": scheme, "lr": lr, "seed": seed, "judge": judge}
        for record in records.read(self.out):
            if record["case"] == case:
                return dict(record)
        self._short = self._short or Short(self.training, self._first)
        figures = self._short.run(scheme, lr, seed, judge)
        records.append(self.out, {"case": case} | figures)
        self.tell(
            f"{scheme}, rate {lr:g}, seed {seed}: {figures['accuracy']:.1%} ({judge}, {figures['seconds']} s)"
        )
        return figures
