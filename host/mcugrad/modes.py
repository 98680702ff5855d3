"""Training modes side by side: accuracy with the device's arithmetic, RAM and instructions of each scheme.

Whole trainings run as generated C on this machine, which computes what the board computes, bit for bit.
"""

from __future__ import annotations

import json
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
from mcugrad.errors import OutOfMemoryError
from mcugrad.hostmodel import HostModel
from mcugrad.paths import BUILD
from mcugrad.sources import open_source
from mcugrad.sources.source import Samples, Split
from mcugrad.train import order, rate

SCHEMES = "head-only,bias-only,last-3,last-6,10kb,full"
RATES = "0.003,0.01,0.03"
LARGEST = "nucleo_h743zi2"
VALIDATION = 5  # every fifth training image judges the learning rate


@dataclass(frozen=True)
class Mode:
    """One scheme's row: accuracies as shares of the held-out images, bytes of RAM, instructions a step."""

    scheme: str
    lr: float
    before: float
    after: float
    board: str
    ram: int
    instructions: int


def modes(job: Job, schemes: Sequence[str], rates: Sequence[float], console: Console) -> list[Mode]:
    """Measure each scheme at the learning rate that is best on a validation split; print and save a table."""
    rows = []
    for scheme in schemes:
        with TemporaryDirectory() as folder:
            rows.append(_measure(job, scheme, rates, Path(folder)))
        console.print(f"{scheme}: {rows[-1].before:.1%} -> {rows[-1].after:.1%}")
    path = BUILD / f"modes-{job.model.name}-{Path(job.data.source).name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    console.print(_table(job, rows), f"{path}")
    return rows


def _measure(job: Job, scheme: str, rates: Sequence[float], folder: Path) -> Mode:
    source = open_source(job.data.source, job.data.seed)
    board, compiled = _smallest(job, scheme, len(source.classes))
    split = _some(source.split(tuple(compiled.manifest["input"]["shape"])), job)
    gen = write(compiled.emitted, folder / "gen")
    model = HostModel(gen, folder / "model.so")
    before = accuracy(model, split.test)
    best = max(rates, key=lambda lr: _trained(model, _validation(split), job.train, lr, job.data.seed))
    after = _trained(model, split, job.train, best, job.data.seed)
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


def _some(split: Split, job: Job) -> Split:
    train = split.train.some(job.data.samples, job.data.seed)
    return Split(train, split.test.some(job.data.held_out, job.data.seed), split.classes)


def _validation(split: Split) -> Split:
    judge = np.arange(len(split.train)) % VALIDATION == 0
    learn, held_out = (Samples(split.train.pixels[m], split.train.labels[m]) for m in (~judge, judge))
    return Split(learn, held_out, split.classes)


def _trained(model: HostModel, split: Split, plan: TrainSection, lr: float, seed: int) -> float:
    """Held-out accuracy after a whole training from the shipped weights, which are put back at the end."""
    shipped, size = model.state_bytes(), len(split.train)
    plan = plan.model_copy(update={"lr": lr})
    for step in range(plan.epochs * size):
        x, label = split.train[order(seed, step // size, size)[step % size]]
        model.step(x, label, rate(step + 1, plan.epochs * size, plan))
    reached = accuracy(model, split.test)
    model.restore(shipped)
    return reached


def accuracy(model: HostModel, samples: Samples) -> float:
    """Share of the samples that the model predicts."""
    return float(np.mean([model.forward(x, label).predicted == label for x, label in samples]))


def _table(job: Job, rows: Sequence[Mode]) -> Table:
    title = f"{job.model.name} on {job.data.source}, {job.train.epochs} epoch(s), batch 1"
    table = Table(title=title)
    for column in ("scheme", "lr", "before", "after", "board", "RAM", "instructions"):
        table.add_column(column, justify="left" if column in ("scheme", "board") else "right", min_width=9)
    for r in rows:
        accuracies = (f"{r.before:.1%}", f"{r.after:.1%}")
        table.add_row(r.scheme, f"{r.lr:g}", *accuracies, r.board, f"{r.ram:,}", f"{r.instructions:,}")
    return table
