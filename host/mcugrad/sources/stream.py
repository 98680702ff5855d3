"""serial:/dev/ttyUSB0, a stream of sensor readings, a line a moment, as a live source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import serial

from mcugrad.config import Job, SensorSection
from mcugrad.errors import UserError
from mcugrad.sources.image import Shape
from mcugrad.sources.live import LiveSource, Shown, need_keys
from mcugrad.sources.table import columns, number
from mcugrad.sources.window import check_rate, check_shape, stride, windows

SILENCE = 5.0  # seconds without a line
_BAD = 20  # lines in a row that make no sense
_RATE_ROWS = 100  # that the rate is judged by


def opened(text: str, job: Job) -> LiveSource:
    """A port by its name; [sensor] says what a line holds."""
    name = f"serial:{text}"

    @contextmanager
    def feed(shape: Shape) -> Iterator[Stream]:
        if not job.sensor.label:
            need_keys(name)
        with _open(text, job.sensor.baud) as port:
            yield Stream(port, shape, job.sensor, name)

    return LiveSource(name, job.capture, feed)


def _open(text: str, baud: int) -> Any:
    try:
        return serial.serial_for_url(text, baudrate=baud, timeout=0.1)
    except (serial.SerialException, OSError, ValueError) as error:
        raise UserError(
            f"cannot open the port ({error})", f"serial:{text}", "plug it in; mcugrad doctor lists ports"
        ) from None


class Stream:
    """Windows of the last rows, all of one label. The first line, perhaps cut, is dropped.

    Columns are those of a header line, of [sensor], or numbered, the label last. A line that makes no sense
    starts the window anew; many in a row are a UserError with the last one.
    """

    def __init__(
        self,
        port: Any,
        shape: Shape,
        plan: SensorSection,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port, self._shape, self._plan, self._name, self._clock = port, shape, plan, name, clock
        self._header = [*plan.columns, *filter(None, (plan.time, plan.label))] if plan.columns else []
        self._rows: list[list[float]] = []
        self._text, self._label = b"", ""
        self._bad = self._count = 0
        self._first = 0.0
        self._line()

    def read(self) -> Shown:
        """The next window: `stride` rows after the last."""
        while len(self._rows) < self._shape[0]:
            self._take([cell.strip() for cell in self._line().split(",")])
        pixels = windows(np.array(self._rows), self._shape, self._plan)[0]
        self._rows = self._rows[stride(self._shape, self._plan) :]
        return Shown(pixels, self._label if self._plan.label else None)

    def _take(self, cells: list[str]) -> None:
        if self._is_header(cells):
            self._header = cells
            columns(cells, self._plan, self._name)
            return
        try:
            readings, label = self._parsed(cells)
        except (UserError, ValueError) as error:
            self._refuse(cells, error)
            return
        check_shape(self._shape, len(readings), self._name)
        self._bad = 0
        if label != self._label:
            self._rows.clear()
        self._label = label
        self._rows.append(readings)
        self._time()

    def _is_header(self, cells: list[str]) -> bool:
        named = [*self._plan.columns, *filter(None, (self._plan.label, self._plan.time))]
        return any(name in cells for name in named)

    def _parsed(self, cells: list[str]) -> tuple[list[float], str]:
        label = self._plan.label
        if not self._header:
            if len(cells) <= bool(label):
                raise ValueError("too few cells")
            self._header = [*map(str, range(len(cells) - bool(label))), *filter(None, (label,))]
        row = dict(zip(self._header, cells, strict=True))
        names = columns(self._header, self._plan, self._name)
        return [number(row[name], name) for name in names], row[label] if label else ""

    def _refuse(self, cells: list[str], error: Exception) -> None:
        self._rows.clear()
        self._bad += 1
        if self._bad > _BAD:
            what = f"{self._bad} lines make no sense, the last: {','.join(cells)[:60]!r} ({error})"
            raise UserError(
                what, self._name, "set baud and columns in [sensor] as the sender has them"
            ) from None

    def _time(self) -> None:
        self._count += 1
        if self._count == 1:
            self._first = self._clock()
        elif self._count == _RATE_ROWS:
            seconds = max(1e-9, self._clock() - self._first)
            check_rate((self._count - 1) / seconds, self._plan, self._name)

    def _line(self) -> str:
        until = self._clock() + SILENCE
        while b"\n" not in self._text:
            self._text += self._port.read(self._port.in_waiting or 1)
            if b"\n" not in self._text and self._clock() > until:
                fix = f"check the sender and [sensor] baud ({self._plan.baud})"
                raise UserError(f"no line in {SILENCE:.0f} s", self._name, fix)
        line, _, self._text = self._text.partition(b"\n")
        return line.decode("utf-8", "replace").strip()
