"""`mcugrad train --tui`; textual is loaded when it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mcugrad import config, run
from mcugrad.errors import UsageError, UserError
from mcugrad.sources import is_live


def show(resume: Path | None, flags: dict[str, Any], config_file: Path | None) -> None:
    """Train or go on with a run in the dashboard; UsageError where it cannot have the terminal."""
    if not sys.stdout.isatty():
        raise UsageError("--tui needs a terminal", "standard output", "leave it out, or use --json")
    try:
        from mcugrad.tui import watch
    except ModuleNotFoundError:
        raise UserError("textual is not installed", "--tui", "pip install 'mcugrad[tui]'") from None
    if resume:
        watch(lambda tell: run.resume(resume, flags, tell))
        return
    job = config.load(config_file, flags)
    if is_live(job.data.source):
        fix = "capture without --tui, then --tui --data replay:runs/<folder>"
        raise UsageError("--tui and a live source both want the terminal", "--tui", fix)
    watch(lambda tell: run.train(job, tell))
