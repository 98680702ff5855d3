"""What a contribution analysis says: the gain of each layer, and of a scheme as the sum of its parts."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from mcugrad import records
from mcugrad.errors import UserError
from mcugrad.passes.schemes import Scheme, parse_scheme
from mcugrad.records import Record

Tell = Callable[[str], None]
SHARES = [Fraction(1, n) for n in (8, 4, 2, 1)]
HEAD = Scheme(0)
NOISE = 0.03  # nats, or share of the images
CLASSES = 10  # where a network is only looked at: its head's share of memory and instructions is small


@dataclass(frozen=True)
class Training:
    """A short training, all but its scheme, rate and seed. samples: training images drawn, 0 takes all.

    Weights move as the device moves them; gradients "fp32" are twice as fast as the device's "integer" ones.
    """

    model: str = "digits-tiny"
    data: str = "paper-digits"
    samples: int = 0
    epochs: int = 4
    batch: int = 16
    gradients: str = "fp32"


def analysed(path: Path) -> Training:
    """What the analysis in a file trained; UserError if there is none."""
    for line in records.read(path):
        return Training(**{f.name: line["case"][f.name] for f in fields(Training)})
    raise UserError("the contribution analysis is not there", str(path), "run mcugrad contribute first")


class Gains:
    """What a file of `contribute` says; a scheme's gain is the sum of its parts', taken as independent.

    by "loss": nats of validation loss below the head's alone, which is less noisy; "accuracy": share gained.
    """

    def __init__(self, lines: Iterable[Record], by: str, where: str) -> None:
        self.by, found = by, dict[str, float]()
        for line in lines:
            if not line["diverged"]:
                found[line["case"]["scheme"]] = -line["loss"] if by == "loss" else line["accuracy"]
        if str(HEAD) not in found or len(found) < 2:
            raise UserError("the contribution analysis is not there", where, "run mcugrad contribute first")
        gains = [(parse_scheme(text), value - found[str(HEAD)]) for text, value in found.items()]
        self.biases = {scheme.biases: gain for scheme, gain in gains if not scheme.weights}
        self.weights: dict[int, dict[Fraction, float]] = {}
        for scheme, gain in gains:
            for index, share in scheme.weights.items():
                self.weights.setdefault(index, {})[share] = gain
        self.weights = {index: table for index, table in self.weights.items() if _steady(table)}

    @classmethod
    def load(cls, path: Path, by: str) -> Gains:
        """UserError if the file does not hold an analysis."""
        return cls(records.read(path), by, str(path))

    @property
    def digest(self) -> str:
        """Of all that the gains are."""
        return f"{zlib.crc32(repr((sorted(self.biases.items()), sorted(self.weights.items()))).encode()):08x}"

    @property
    def most_biases(self) -> int:
        return max(self.biases)

    def of(self, scheme: Scheme) -> float | None:
        """Sum of gains; None where a part of the scheme was not analysed."""
        if scheme.biases > self.most_biases or any(
            share not in self.weights.get(index, {}) for index, share in scheme.weights.items()
        ):
            return None
        points = sorted(self.biases.items())
        biases = float(np.interp(scheme.biases, [k for k, _ in points], [g for _, g in points]))
        return biases + sum(self.weights[index][share] for index, share in scheme.weights.items())


def _steady(table: Mapping[Fraction, float]) -> bool:
    """Whether training more of a layer gains no less. Where it does, the rate is too high for the layer: with
    others beside it, it would break the training even at the share that looked well."""
    gains = [gain for _, gain in sorted(table.items())]
    return all(later >= earlier - NOISE for earlier, later in pairwise(gains))
