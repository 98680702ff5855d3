"""A run's database -> what other tools read: TensorBoard event files, Parquet tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mcugrad.errors import UserError
from mcugrad.telemetry import Telemetry

TABLES = ("steps", "link", "evals", "nodes")
# Columns of the steps that mean something as a curve -> their tag.
_CURVES = {
    "loss": "train/loss",
    "lr": "train/learning_rate",
    "saturated": "train/saturated",
    "latency_s": "time/step_seconds",
    "cycles_forward": "time/cycles_forward",
    "cycles_total": "time/cycles_total",
    "stack_high": "memory/stack_bytes",
    "retries": "link/retries",
    "host_crc_errors": "link/host_crc_errors",
    "board_crc_errors": "link/board_crc_errors",
}


def tensorboard(log: Telemetry, folder: Path) -> list[Path]:
    """One event file, a scalar a step and curve at the time it was measured; an earlier export goes."""
    events = folder / "tensorboard"
    for old in events.glob("events.*"):
        old.unlink()
    with _package("tensorboardX").SummaryWriter(str(events), flush_secs=3600) as writer:
        for row in log.table("steps"):
            right = float(row["label"] == row["predicted"])
            writer.add_scalar("train/right", right, row["step"], row["time"])
            for column, tag in _CURVES.items():
                writer.add_scalar(tag, row[column], row["step"], row["time"])
        for row in log.table("evals"):
            for name in ("accuracy", "loss"):
                writer.add_scalar(f"held_out/{name}", row[name], row["step"], row["time"])
    return sorted(events.glob("events.*"))


def parquet(log: Telemetry, folder: Path) -> list[Path]:
    """A file for each table that has rows."""
    arrow, files = _package("pyarrow"), _package("pyarrow.parquet")
    written = []
    for name in TABLES:
        if rows := log.table(name):
            files.write_table(arrow.Table.from_pylist(rows), folder / f"{name}.parquet")
            written.append(folder / f"{name}.parquet")
    return written


FORMATS: Mapping[str, Callable[[Telemetry, Path], list[Path]]] = {
    "tensorboard": tensorboard,
    "parquet": parquet,
}


def export(log: Telemetry, folder: Path, kind: str) -> list[Path]:
    """Write a run in one of FORMATS into its folder; the files. UserError for another or no package."""
    if kind not in FORMATS:
        raise UserError(f"no format '{kind}'", "--to", f"use {' or '.join(FORMATS)}")
    return FORMATS[kind](log, folder)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UserError(
            f"{name} is not installed", f"import {name}", "pip install 'mcugrad[export]'"
        ) from None
