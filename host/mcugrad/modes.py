"""Training modes side by side: accuracy with the device's arithmetic, RAM and instructions of each scheme.

Whole trainings run as generated C on this machine, which computes what the board computes, bit for bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from mcugrad import bench, boards, pipeline
from mcugrad.codegen.c import write
from mcugrad.config import Job, TrainSection
from mcugrad.divergence import Divergence
from mcugrad.errors import OutOfMemoryError
from mcugrad.hostmodel import HostModel
from mcugrad.paths import BUILD
from mcugrad.sources import Source, open_source
from mcugrad.sources.source import Samples, Split
from mcugrad.train import order, rate

SCHEMES = "head-only,bias-only,last-3,last-6,10kb,full"
RATES = "0.003,0.01,0.03"
LARGEST = "nucleo_h743zi2"
VALIDATION = 5  # every fifth training image judges the learning rate


@dataclass(frozen=True)
class Mode:
    """One scheme's row: accuracies as shares of the held-out images, bytes of RAM, instructions a step.

    after: None if training diverged.
    """

    scheme: str
    lr: float
    before: float
    after: float | None
    board: str
    ram: int
    instructions: int


def modes(job: Job, schemes: Sequence[str], rates: Sequence[float], console: Console) -> list[Mode]:
    """Measure each scheme at the learning rate that is best on a validation split; print and save a table."""
    source, rows = open_source(job.data.source, job.data.seed), []
    # All are compiled first: a wrong scheme is named at once, not after hours.
    compiled = [(scheme, *_smallest(job, scheme, len(source.classes))) for scheme in schemes]
    for scheme, board, step in compiled:
        with TemporaryDirectory() as folder:
            rows.append(_measure(job, source, scheme, board, step, rates, Path(folder)))
        console.print(f"{scheme}: {rows[-1].before:.1%} -> {_percent(rows[-1].after)}")
    path = BUILD / f"modes-{job.model.name}-{Path(job.data.source).name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    console.print(_table(job, rows), f"{path}")
    return rows


def _measure(
    job: Job,
    source: Source,
    scheme: str,
    board: str,
    compiled: pipeline.Compiled,
    rates: Sequence[float],
    folder: Path,
) -> Mode:
    data, shape = job.data, tuple(compiled.manifest["input"]["shape"])
    split = source.split(shape).some(data.samples, data.held_out, data.seed)
    gen = write(compiled.emitted, folder / "gen")
    model = HostModel(gen, folder / "model.so")
    before, _ = judge(model, split.test)
    tuned = {lr: _trained(model, _validation(split), job.train, lr, data.seed) for lr in rates}
    best = max(rates, key=lambda lr: tuned[lr] or -1.0)
    after = _trained(model, split, job.train, best, data.seed)
    figures = bench.measure_compiled(compiled, board, folder)
    total = figures["instructions"]["total"]
    return Mode(scheme, best, before, after, board, figures["ram"]["total"], total)


def _smallest(job: Job, scheme: str, classes: int) -> tuple[str, pipeline.Compiled]:
    """The job's board, or the largest one where the scheme does not fit it."""
    for board in (job.board.id, LARGEST):
        try:
            return board, pipeline.compile_job(
                job.model.name, scheme, boards.load(board), classes, job.data.seed, job.train.update
            )
        except OutOfMemoryError:
            if board == LARGEST:
                raise
    raise AssertionError


def _validation(split: Split) -> Split:
    judge = np.arange(len(split.train)) % VALIDATION == 0
    learn, held_out = (Samples(split.train.pixels[m], split.train.labels[m]) for m in (~judge, judge))
    return Split(learn, held_out, split.classes)


def _trained(model: HostModel, split: Split, plan: TrainSection, lr: float, seed: int) -> float | None:
    """Held-out accuracy after a whole training from the shipped weights, which are put back at the end.

    None if it diverged.
    """
    shipped, plan = model.state_bytes(), plan.model_copy(update={"lr": lr})
    finished = _train(model, split, plan, seed)
    reached = judge(model, split.test)[0] if finished else None
    model.restore(shipped)
    return reached


def _train(model: HostModel, split: Split, plan: TrainSection, seed: int) -> bool:
    """False if it was left off as diverged."""
    size = len(split.train)
    watch = Divergence(len(split.classes), judge(model, split.test)[1])
    for step in range(plan.epochs * size):
        x, label = split.train[order(seed, step // size, size)[step % size]]
        if watch.at(model.step(x, label, rate(step + 1, plan.epochs * size, plan)).loss):
            return False
    return True


def judge(model: HostModel, samples: Samples) -> tuple[float, float]:
    """Share of the samples that the model predicts, mean loss."""
    results = [(label, model.forward(x, label)) for x, label in samples]
    loss = math.fsum(r.loss for _, r in results) / len(results)
    return sum(label == r.predicted for label, r in results) / len(results), loss


def _percent(share: float | None) -> str:
    return "diverged" if share is None else f"{share:.1%}"


def _table(job: Job, rows: Sequence[Mode]) -> Table:
    title = f"{job.model.name} on {job.data.source}, {job.train.epochs} epoch(s), batch 1"
    table = Table(title=title)
    for column in ("scheme", "lr", "before", "after", "board", "RAM", "instructions"):
        table.add_column(column, justify="left" if column in ("scheme", "board") else "right", min_width=9)
    for r in rows:
        accuracies = (_percent(r.before), _percent(r.after))
        table.add_row(r.scheme, f"{r.lr:g}", *accuracies, r.board, f"{r.ram:,}", f"{r.instructions:,}")
    return table
