"""Rows of sensor readings -> samples: windows as high as the model's input, columns across it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcugrad.config import SensorSection
from mcugrad.errors import UserError
from mcugrad.sources.image import Pixels, Shape

Readings = NDArray[np.float64]
_RATE_OFF = 0.1  # share by which a rate may be off


def check_shape(shape: Shape, columns: int, where: str) -> None:
    """UserError unless the input is [window, columns, 1] or [window, 1, columns]."""
    if shape[1:] not in ((columns, 1), (1, columns)):
        size = "x".join(map(str, shape))
        fix = f"name {shape[1] * shape[2]} columns in [sensor], or a model of input {shape[0]}x{columns}x1"
        raise UserError(f"{columns} columns of readings, the model takes {size}", where, fix)


def windows(readings: Readings, shape: Shape, plan: SensorSection) -> Pixels:
    """[rows, columns] -> [n, *shape], every `stride` rows; none where there are too few rows."""
    height, step = shape[0], stride(shape, plan)
    starts = range(0, len(readings) - height + 1, step)
    pixels = scaled(readings, plan)
    return np.stack([pixels[i : i + height].reshape(shape) for i in starts]) if starts else empty(shape)


def empty(shape: Shape) -> Pixels:
    return np.empty((0, *shape), np.uint8)


def stride(shape: Shape, plan: SensorSection) -> int:
    """Rows from one window to the next."""
    return plan.stride or max(1, shape[0] // 2)


def scaled(readings: Readings, plan: SensorSection) -> Pixels:
    """low..high -> 0..255; what is beyond becomes the nearest."""
    if plan.low >= plan.high:
        raise UserError(f"low {plan.low} is not below high {plan.high}", "[sensor] low, high", "swap them")
    share = (readings - plan.low) / (plan.high - plan.low)
    pixels: Pixels = np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
    return pixels


def check_rate(found: float, plan: SensorSection, where: str) -> None:
    """UserError if readings come at another rate than the job says."""
    if plan.rate and not abs(found / plan.rate - 1) <= _RATE_OFF:
        what = f"{found:.4g} rows a second, the job says {plan.rate:g}"
        raise UserError(what, where, f"resample the readings, or set rate = {found:.4g} in [sensor]")
