"""A .csv of sensor readings as a source: a header, a row a moment, a column with the label's name."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from mcugrad.config import Job, SensorSection
from mcugrad.errors import UserError
from mcugrad.sources.folder import HELD_OUT
from mcugrad.sources.image import Pixels, Shape
from mcugrad.sources.source import Samples, Split, checked
from mcugrad.sources.window import Readings, check_rate, check_shape, empty, windows

Stretch = tuple[str, Readings]  # rows that follow each other under one label


def opened(text: str, job: Job) -> TableSource:
    return TableSource(Path(text), job.sensor)


class TableSource:
    """Windows lie within a stretch of one label; the last fifth of every stretch is held out."""

    live = False

    def __init__(self, path: Path, plan: SensorSection) -> None:
        self.name, self._path, self._plan = path.stem, path, plan
        header, rows = _read(path)
        if not plan.label:
            raise UserError("no column holds the label", "[sensor] label", f"name one of {', '.join(header)}")
        self._columns = columns(header, plan, str(path))
        self._stretches = list(self._stretched(header, rows))
        self.classes = tuple(sorted({label for label, _ in self._stretches}))

    def split(self, shape: Shape) -> Split:
        """Both parts as windows of the model's height; UserError where a class has too few rows for one."""
        check_shape(shape, len(self._columns), str(self._path))
        parts: list[list[tuple[Pixels, int]]] = [[], []]
        for label, readings in self._stretches:
            # No reading is in both parts.
            cut = len(readings) - max(shape[0], len(readings) // HELD_OUT)
            for part, some in zip(parts, (readings[:cut], readings[cut:]), strict=True):
                part.append((windows(some, shape, self._plan), self.classes.index(label)))
        train, test = (_samples(part, shape) for part in parts)
        return checked(Split(train, test, self.classes), str(self._path))

    def _stretched(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Stretch]:
        at, line = header.index(self._plan.label), 2
        for label, group in groupby(rows, key=lambda row: row[at].strip()):
            members = list(group)
            if not label:
                raise UserError("no label", f"{self._path}, line {line}", "fill it in or remove the row")
            self._check_times(header, members, line)
            yield label, self._numbers(header, self._columns, members, line)
            line += len(members)

    def _check_times(self, header: Sequence[str], rows: Sequence[Sequence[str]], line: int) -> None:
        if self._plan.time and len(rows) > 1:
            times = self._numbers(header, [self._plan.time], rows, line)[:, 0]
            where = f"{self._path}, lines {line} to {line + len(rows) - 1}"
            if (np.diff(times) <= 0).any():
                raise UserError(f"'{self._plan.time}' does not rise", where, "sort the rows by time")
            check_rate(1 / float(np.median(np.diff(times))), self._plan, where)

    def _numbers(
        self, header: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]], line: int
    ) -> Readings:
        places = [header.index(name) for name in names]
        return np.array(
            [
                [
                    number(row[at], f"{self._path}, line {line + i}, {name}")
                    for at, name in zip(places, names, strict=True)
                ]
                for i, row in enumerate(rows)
            ]
        )


def columns(header: Sequence[str], plan: SensorSection, where: str) -> list[str]:
    """The columns to take; UserError names those that are missing."""
    asked = [*plan.columns, *filter(None, (plan.label, plan.time))]
    if missing := [name for name in asked if name not in header]:
        fix = f"the file has {', '.join(header)}: name those in [sensor]"
        raise UserError(f"no column {', '.join(missing)}", where, fix)
    return list(plan.columns) or [name for name in header if name not in (plan.label, plan.time)]


def number(text: str, where: str) -> float:
    """A reading; UserError for what is none, or not finite."""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"'{text}' is no number", where, "mend or remove the row") from None
    if not math.isfinite(value):
        raise UserError(f"the reading is {text.strip()}", where, "mend or remove the row")
    return value


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="") as file:
            header, *rows = ([cell.strip() for cell in row] for row in csv.reader(file) if row)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        what = "the file is empty" if "not enough values" in str(error) else f"unreadable ({error})"
        raise UserError(what, str(path), "give a text file: a header, then a row a moment") from None
    for i, row in enumerate(rows, 2):
        if len(row) != len(header):
            what = f"{len(row)} cells, the header has {len(header)}"
            raise UserError(what, f"{path}, line {i}", "mend or remove the row")
    return header, rows


def _samples(found: list[tuple[Pixels, int]], shape: Shape) -> Samples:
    labels = [np.full(len(x), label, np.int64) for x, label in found]
    return Samples(np.concatenate([empty(shape), *(x for x, _ in found)]), np.concatenate(labels))
