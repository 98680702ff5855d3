"""Training modes side by side: accuracy with the device's arithmetic, RAM and instructions of each scheme.

Whole trainings run as generated C on this machine, which computes what the board computes, bit for bit; steps
out of each training then run on the emulated board, which counts, and must end with the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from mcugrad import pipeline
from mcugrad.config import Job
from mcugrad.errors import UsageError
from mcugrad.frontend import models
from mcugrad.ir import Graph
from mcugrad.modes.board import counted, planned, smallest
from mcugrad.modes.rows import Mode, Rows, Setting, page, percent, table
from mcugrad.modes.training import Trainer
from mcugrad.passes.schemes import SCHEMES
from mcugrad.paths import BUILD
from mcugrad.prepare import choices_of, ranking
from mcugrad.sources import Source, of_job
from mcugrad.sources.vary import NOTHING

RATES = "0.003,0.01,0.03"
FOLDER = BUILD / "modes"


def default_schemes(model: str) -> list[str]:
    """full, last layers (as TensorFlow's transfer learning), TinyTL, TinyOL, MCUNetV3's sparse update in the
    middle one of the model's schemes, and the first and the last of these with dynamic gradients (Deutel)."""
    table = list(SCHEMES.get(model, {})) or ["last-3"]
    sparse = table[len(table) // 2]
    return [
        "full",
        "last-6",
        "bias-only",
        "head-only",
        sparse,
        f"dynamic:1/8..1 {sparse}",
        "dynamic:1/8..1 full",
    ]


def modes(
    job: Job, schemes: Sequence[str], rates: Sequence[float], console: Console, folder: Path | None = None
) -> list[Mode]:
    """A row for each scheme, at the learning rate that is best on validation images; prints the table.

    Each row is written into `folder` once it is there; what it holds already, of the same setting, is not
    measured again. UserError for a bad scheme, before anything is trained.
    """
    if job.augment != NOTHING:
        fix = "leave it out: images run through the frozen front once"
        raise UsageError("modes trains without augmentation", "[augment]", fix)
    source = of_job(job)
    forward = models.load(job.model.name, len(source.classes), job.data.seed)
    for scheme in schemes:
        pipeline.uncalibrated(forward, scheme, **choices_of(job))
    rows = Rows.of(job, folder or FOLDER)
    settings = [Setting.of(job, scheme, rates) for scheme in schemes]
    found = [rows.find(s) or rows.add(s, _measure(job, forward, source, s, console)) for s in settings]
    console.print(table(settings[0], found))
    console.print(f"{rows.write(page(settings[0], found))}", markup=False)
    return found


def _measure(job: Job, forward: Graph, source: Source, setting: Setting, console: Console) -> Mode:
    """Tune, train, count."""
    scheme, data = setting.scheme, job.data
    console.print(f"{scheme}", markup=False)
    height, width, channels = forward.inputs[0].shape
    split = source.split((height, width, channels)).some(data.samples, data.held_out, data.seed)
    board, compiled = smallest(job, forward, scheme, ranking(forward, scheme, job, source))
    with TemporaryDirectory() as folder:
        trainer = Trainer(compiled, split, job, Path(folder), console)
        lr = trainer.best(setting.rates)
        before, after, probes = trainer.train(lr)
        console.print(f"  lr {lr:g}: {before:.1%} -> {percent(after)}", markup=False)
        cost = counted(compiled, board, probes, Path(folder)) if board else planned(compiled)
    return Mode(scheme, lr, before, after, board, cost)
