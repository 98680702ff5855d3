"""What an earlier run saw, as a source: replay:RUN, its recorded samples or the source it read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mcugrad import config
from mcugrad.config import Job
from mcugrad.errors import UserError
from mcugrad.sources.arrays import ArraySource
from mcugrad.sources.source import Source, Split

JOB, SAMPLES = "job.toml", "samples.npz"


def opened(text: str, job: Job) -> Source:
    """The samples of the run in a folder, in their order; UserError where there is no run."""
    from mcugrad.sources.open import open_source

    folder = Path(text)
    if not (folder / JOB).is_file():
        raise UserError("no run is recorded here", text or "replay:", "write replay:runs/<time>-<model>")
    if (folder / SAMPLES).is_file():
        return ArraySource(folder / SAMPLES)
    was = config.load(folder / JOB)
    return open_source(was.data.source, was.data.seed, was)


def record(split: Split, folder: Path) -> Path:
    """Keep all samples in a run's folder, byte for byte."""
    np.savez(
        folder / SAMPLES,
        x_train=split.train.pixels,
        y_train=split.train.labels,
        x_test=split.test.pixels,
        y_test=split.test.labels,
        classes=np.array(split.classes),
    )
    return folder / SAMPLES
