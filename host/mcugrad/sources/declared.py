"""A source with what the job declares of its samples: normalisation and augmentation."""

from __future__ import annotations

from dataclasses import replace

from mcugrad.config import Job
from mcugrad.sources.image import Shape
from mcugrad.sources.source import Samples, Source, Split
from mcugrad.sources.vary import normalised


class DeclaredSource:
    """Another source's samples, normalised; those to learn from know how training varies them.

    raw: the samples as they came, once they were asked for; of a live source there are no others.
    """

    def __init__(self, source: Source, job: Job) -> None:
        self.name, self.classes, self.live = source.name, source.classes, source.live
        self.raw: Split | None = None
        self._source, self._job = source, job

    def split(self, shape: Shape) -> Split:
        """Both parts at the model's size; a live source is captured once."""
        if self.raw is None or self.raw.train.pixels.shape[1:] != shape:
            self.raw = self._source.split(shape)
        train, test = self._normalised(self.raw.train), self._normalised(self.raw.test)
        vary = replace(train, augment=self._job.augment, seed=self._job.data.seed)
        return replace(self.raw, train=vary, test=test)

    def _normalised(self, samples: Samples) -> Samples:
        return replace(samples, pixels=normalised(samples.pixels, self._job.normalise.mode))
