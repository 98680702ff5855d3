"""The commands on a run of before: `mcugrad report`, `export`, `replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mcugrad import export as exports
from mcugrad import report as pages
from mcugrad import run
from mcugrad.options import AsJson, Port
from mcugrad.telemetry import Telemetry
from mcugrad.view import view


def report(folder: Annotated[Path, typer.Argument(help="A run: runs/<time>-<model>.")]) -> None:
    """Make a run's page and picture again, also while it is under way."""
    for path in pages.write(Telemetry.open(folder / run.TELEMETRY), folder):
        sys.stdout.write(f"{path}\n")


def export(
    folder: Annotated[Path, typer.Argument(help="A run: runs/<time>-<model>.")],
    to: Annotated[str, typer.Option(help="tensorboard (event files) or parquet.")] = "tensorboard",
) -> None:
    """Write a run's curves and tables for other tools, into its folder."""
    for path in exports.export(Telemetry.open(folder / run.TELEMETRY), folder, to):
        sys.stdout.write(f"{path}\n")


def replay(
    folder: Annotated[Path, typer.Argument(help="A run: runs/<time>-<model>.")],
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Do an earlier run again from its job and samples; 7: not the same bits."""
    run.replay(folder, port, view(as_json))
