"""A source has classes, and gives training and held-out samples at the size that a model takes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mcugrad.errors import UserError
from mcugrad.sources.image import Pixels, Shape, codes


@dataclass(frozen=True)
class Samples:
    """Pixels uint8 [N,H,W,C], labels int64 [N]; indexing gives what the board takes: int8 [H,W,C], label."""

    pixels: Pixels
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.int8], int]:
        return codes(self.pixels[index]), int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[NDArray[np.int8], int]]:
        return (self[i] for i in range(len(self)))

    def some(self, count: int, seed: int) -> Samples:
        """`count` of them drawn by the seed, in their order; all of them for 0."""
        if not count or count >= len(self):
            return self
        chosen = sorted(random.Random(f"some/{seed}").sample(range(len(self)), count))
        return Samples(self.pixels[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Split:
    """Samples to learn from and samples to judge by."""

    train: Samples
    test: Samples
    classes: tuple[str, ...]


class Source(Protocol):
    """What every source offers. Opening is cheap; `split` reads all images and may raise UserError."""

    name: str
    classes: tuple[str, ...]

    def split(self, shape: Shape) -> Split: ...


def checked(split: Split, where: str) -> Split:
    """The split, if it can train; UserError for an empty part, one class, or labels out of range."""
    for part, samples in (("training", split.train), ("held-out", split.test)):
        if not len(samples):
            raise UserError(f"no {part} images", where, "choose another --data")
        low, high = int(samples.labels.min()), int(samples.labels.max())
        if low < 0 or high >= len(split.classes):
            what = f"label {low if low < 0 else high} among the {part} images, {len(split.classes)} classes"
            raise UserError(what, where, "mend the labels")
    if len(split.classes) < 2:
        raise UserError(f"one class only ({', '.join(split.classes)})", where, "give at least two classes")
    return split
