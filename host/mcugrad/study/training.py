"""A case in, its figures out: train on each source in turn, judge before and after."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad.config import TrainSection
from mcugrad.divergence import Divergence
from mcugrad.ir.graph import Array
from mcugrad.sources import open_source
from mcugrad.study.case import Case
from mcugrad.study.engines import Engine, engine
from mcugrad.study.images import Part, images, past_front
from mcugrad.train import order, rate

Tell = Callable[[str], None]
_PROGRESS = ".progress"


@dataclass
class Progress:
    """How far a case is; what a killed run goes on from.

    accuracy, judged_loss: before and after each source; loss: mean over each epoch's steps.
    """

    classes: int
    phase: int = 0
    epoch: int = 0
    accuracy: list[list[float]] = field(default_factory=list)
    judged_loss: list[list[float]] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def figures(self) -> dict[str, Any]:
        diverged = not all(math.isfinite(x) for x in self.loss)
        finite = [x for x in self.loss if math.isfinite(x)]
        figures = {"accuracy": self.accuracy, "judged_loss": self.judged_loss, "loss": finite}
        return {**figures, "diverged": diverged, "seconds": round(self.seconds, 1)}


def run(
    case: Case, device: str = "cpu", kept: Path | None = None, tell: Tell = lambda _: None
) -> dict[str, Any]:
    """Train and judge -> accuracy and mean loss on the judging images, before and after each source.

    A training that diverges ends, with the figures up to there. kept: a file to go on from after a kill;
    it is written after each epoch and removed at the end.
    """
    classes = len(open_source(case.sources[0]).classes)
    learner, progress = engine(case, classes, device), Progress(classes)
    if kept and kept.is_file():
        _load(kept, learner, progress)
    while progress.phase < len(case.sources):
        _phase(case, learner, progress, kept, tell)
    if kept:
        kept.unlink(missing_ok=True)
    return progress.figures | {"extra_bytes": case.extra_memory(classes)}


def _phase(case: Case, learner: Engine, progress: Progress, kept: Path | None, tell: Tell) -> None:
    train, test = _parts(case, learner, progress.phase)
    epochs = case.epochs[progress.phase]
    if progress.epoch == 0:
        _judge(learner, test, progress, first=True)
    while progress.epoch < epochs and not progress.figures["diverged"]:
        began = time.monotonic()
        progress.loss.append(_epoch(case, learner, train, progress))
        progress.epoch += 1
        progress.seconds += time.monotonic() - began
        tell(f"epoch {progress.epoch} of {epochs}: loss {progress.loss[-1]:.4f}")
        if kept:
            _save(kept, learner, progress)
    _judge(learner, test, progress, first=False)
    progress.phase, progress.epoch = progress.phase + 1, 0


def _parts(case: Case, learner: Engine, phase: int) -> tuple[Part, Part]:
    shape = learner.front.inputs[0].shape
    split = images(case.sources[phase], (shape[0], shape[1], shape[2]), case.judge)
    train = past_front(learner.front, split.train, case.flip)
    return train, past_front(learner.front, split.test, False)


def _judge(learner: Engine, part: Part, progress: Progress, first: bool) -> None:
    losses, predicted = learner.judge(part.inputs, part.labels)
    found = float((predicted == part.labels).mean()), float(np.mean(losses, dtype=np.float64))
    for values, value in zip((progress.accuracy, progress.judged_loss), found, strict=True):
        if first:
            values.append([])
        values[-1].append(value if math.isfinite(value) else math.inf)


def _epoch(case: Case, learner: Engine, part: Part, progress: Progress) -> float:
    """Mean loss of the steps; not a number where they diverge."""
    count, epoch = len(part), progress.epoch
    plan = TrainSection(epochs=case.epochs[progress.phase], lr=case.lr)
    watch = Divergence(progress.classes, progress.judged_loss[-1][0])
    steps = math.ceil(count / case.batch)
    shuffled = np.array(order(case.seed, epoch, count)) + _flips(case, epoch, count)
    total = 0.0
    for step in range(steps):
        rows, labels = part.take(shuffled[step * case.batch : (step + 1) * case.batch])
        lr = rate(epoch * steps + step + 1, plan.epochs * steps, plan)
        losses = learner.step(rows, labels, lr)
        if watch.at(float(losses.mean())):
            return math.nan
        total += float(losses.sum(dtype=np.float64))
    return total / count


def _flips(case: Case, epoch: int, count: int) -> Array:
    """Where the mirrored image of a place is taken: its distance from the image itself."""
    drawn = random.Random(f"flip/{case.seed}/{epoch}")
    return np.array([case.flip * count * drawn.getrandbits(1) for _ in range(count)])


def _save(path: Path, learner: Engine, progress: Progress) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half.npz")
    arrays = learner.save() | {_PROGRESS: np.array(json.dumps(vars(progress)))}
    np.savez(half, allow_pickle=False, **arrays)
    half.replace(path)


def _load(path: Path, learner: Engine, progress: Progress) -> None:
    with np.load(path) as file:
        learner.load({name: file[name] for name in file if name != _PROGRESS})
        vars(progress).update(json.loads(str(file[_PROGRESS])))
