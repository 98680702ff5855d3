"""What the results file holds, as cells of the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from mcugrad.study.case import Results
from mcugrad.study.grid import PERSON, Strip, strips

Key = tuple[str, str, str, str]  # data, model, scheme, column
JUDGED = {"flowers102": (1982,), "cifar10": (2000,), PERSON: (1214, 281)}  # images of each source


@dataclass(frozen=True)
class Cell:
    """Accuracies in percent: `reached` after each source for each seed, `before` at the start of each source.

    extra: the paper's analytic memory of the scheme in KB; diverged: whether a seed's loss became infinite.
    """

    reached: Sequence[Sequence[float]]
    before: Sequence[float]
    lr: float
    extra: float
    diverged: bool

    def on(self, source: int = -1) -> list[float]:
        """What the seeds reached on one of the sources."""
        return [r[source] for r in self.reached]

    def mean(self, source: int = -1) -> float:
        return fmean(self.on(source))

    def spread(self, source: int = -1) -> float:
        """Standard deviation over the seeds; 0 for one."""
        return stdev(self.on(source)) if len(self.reached) > 1 else 0.0


Table = Mapping[Key, Cell]


def table(results: Results, budget: str) -> Table:
    """The cells of which all seeds are there."""
    known = results.all()
    cells = {(s.data, s.model, s.scheme, s.column): cell(s, known) for s in strips(budget)}
    return {key: c for key, c in cells.items() if c}


def cell(strip: Strip, known: Sequence[dict[str, Any]]) -> Cell | None:
    """The cell of a strip, or None as long as a seed is missing."""
    lines = strip.among(known)
    if not lines:
        return None
    reached = [[100 * phase[-1] for phase in line["accuracy"]] for line in lines]
    before = [100 * phase[0] for phase in lines[0]["accuracy"]]
    diverged = any(line["diverged"] for line in lines)
    return Cell(reached, before, lines[0]["case"].lr, lines[0]["extra_bytes"] / 1024, diverged)


def error_bar(accuracy: float, count: int) -> float:
    """Standard error of an accuracy in percent on `count` images, in points."""
    share = min(max(accuracy / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / count)
