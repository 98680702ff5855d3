"""A source has classes, and gives training and held-out samples at the size that a model takes."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mcugrad.config import AugmentSection
from mcugrad.errors import UsageError, UserError
from mcugrad.sources.image import Pixels, Shape, codes
from mcugrad.sources.vary import NOTHING, augmented


@dataclass(frozen=True)
class Samples:
    """Pixels uint8 [N,H,W,C], labels int64 [N]; indexing gives what the board takes: int8 [H,W,C], label.

    augment: how training varies them, drawn by the seed.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    augment: AugmentSection = NOTHING
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.int8], int]:
        return codes(self.pixels[index]), int(self.labels[index])

    def varied(self, index: int, epoch: int) -> Pixels:
        """The pixels that training takes of a sample in an epoch: the same ones whenever it is asked."""
        return augmented(self.pixels[index], self.augment, f"{self.seed}/{epoch}/{index}")

    def trained(self, index: int, epoch: int) -> tuple[NDArray[np.int8], int]:
        """The same as the board takes it, with its label."""
        return codes(self.varied(index, epoch)), int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[NDArray[np.int8], int]]:
        return (self[i] for i in range(len(self)))

    def some(self, count: int, seed: int) -> Samples:
        """`count` of them drawn by the seed, in their order; all of them for 0."""
        if not count or count >= len(self):
            return self
        return self._take(self._drawn(count, seed))

    def some_of_each(self, count: int, seed: int) -> Samples:
        """The same, but every class keeps one: for one that lost all, one of the most frequent class goes."""
        if not count or count >= len(self):
            return self
        chosen = self._drawn(count, seed)
        for label in np.setdiff1d(self.labels, self.labels[chosen]):
            found = np.bincount(self.labels[chosen])
            chosen.remove(max(i for i in chosen if self.labels[i] == found.argmax()))
            mine = np.flatnonzero(self.labels == label)
            chosen.append(int(mine[random.Random(f"some/{seed}/{label}").randrange(len(mine))]))
        return self._take(chosen)

    def _drawn(self, count: int, seed: int) -> list[int]:
        return random.Random(f"some/{seed}").sample(range(len(self)), count)

    def _take(self, chosen: list[int]) -> Samples:
        chosen = sorted(chosen)
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen])


@dataclass(frozen=True)
class Split:
    """Samples to learn from and samples to judge by."""

    train: Samples
    test: Samples
    classes: tuple[str, ...]

    def some(self, samples: int, held_out: int, seed: int) -> Split:
        """So many of each part, drawn by the seed, 0 for all; UsageError if the classes need more."""
        if 0 < samples < len(self.classes):
            what = f"{samples} training images cannot show {len(self.classes)} classes"
            fix = f"give at least {len(self.classes)}, or 0 for all"
            raise UsageError(what, "--samples", fix)
        train = self.train.some_of_each(samples, seed)
        return Split(train, self.test.some(held_out, seed), self.classes)

    @property
    def crc(self) -> int:
        """Of all images and labels in order: a resumed or replayed run must find the same."""
        crc = 0
        for part in (self.train, self.test):
            crc = zlib.crc32(part.labels.tobytes(), zlib.crc32(part.pixels.tobytes(), crc))
        return crc


class Source(Protocol):
    """What every source offers. Opening is cheap; `split` reads all images and may raise UserError.

    live: what it shows cannot be seen again, so a run keeps it.
    """

    name: str
    classes: tuple[str, ...]
    live: bool

    def split(self, shape: Shape) -> Split: ...


def checked(split: Split, where: str) -> Split:
    """The split, if it can train; UserError for an empty part, one class, labels out of range, or a class
    without a training image."""
    for part, samples in (("training", split.train), ("held-out", split.test)):
        if not len(samples):
            raise UserError(f"no {part} images", where, "give more images, or another --data")
        low, high = int(samples.labels.min()), int(samples.labels.max())
        if low < 0 or high >= len(split.classes):
            what = f"label {low if low < 0 else high} among the {part} images, {len(split.classes)} classes"
            raise UserError(what, where, "mend the labels")
    if len(split.classes) < 2:
        raise UserError(f"one class only ({', '.join(split.classes)})", where, "give at least two classes")
    _check_every_class(split, where)
    return split


def _check_every_class(split: Split, where: str) -> None:
    learn, judge = (np.bincount(s.labels, minlength=len(split.classes)) for s in (split.train, split.test))
    missing = [f"'{split.classes[i]}' ({judge[i]} held out)" for i in np.flatnonzero(learn == 0)]
    if missing:
        some = ", ".join(missing[:5]) + ", ..." * (len(missing) > 5)
        what = f"{len(missing)} of {len(split.classes)} classes without a training image: {some}"
        raise UserError(what, where, "add training images of each class, or leave the class out")
