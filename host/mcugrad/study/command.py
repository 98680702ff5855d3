"""`mcugrad reproduce`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mcugrad.errors import UserError
from mcugrad.paths import RESULTS

CORES = os.cpu_count() or 1

Only = Annotated[str, typer.Option(help="Only cells whose name has this in it.")]
Budget = Annotated[str, typer.Option(help="short (two hours of two cores) or paper (50 epochs).")]
Workers = Annotated[int, typer.Option(min=1, help="Trainings at a time.")]
Device = Annotated[str, typer.Option(help="Where torch simulates: cpu, cuda, or auto.")]
Out = Annotated[Path, typer.Option(help="Folder of results.jsonl and of the page.")]


def reproduce(
    only: Only = "",
    budget: Budget = "short",
    workers: Workers = CORES,
    device: Device = "auto",
    out: Out = RESULTS / "accuracy",
) -> None:
    """The accuracy table: the device's arithmetic beside the paper's simulation. Goes on where it stopped."""
    try:
        from mcugrad.study.reproduce import reproduce as fill
    except ImportError:
        raise UserError("torch is not installed", "import torch", "pip install 'mcugrad[compile]'") from None
    sys.stdout.write(f"{fill(only, budget, workers, device, out, Console())}\n")
