"""`mcugrad profile`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mcugrad import bench, boards, config, prepare
from mcugrad.config import Job
from mcugrad.options import AsJson, BoardId, Channels, ConfigFile, Data, Html, Model, Scheme, UpdateMode
from mcugrad.paths import BUILD
from mcugrad.profile.page import page
from mcugrad.profile.record import Profile, changes, read
from mcugrad.profile.tables import compared, tables
from mcugrad.report import save
from mcugrad.sources import of_job

Compare = Annotated[Path | None, typer.Option(help="What --json wrote of another build: what changed.")]
Read = Annotated[Path | None, typer.Option("--read", help="Show what --json wrote; nothing is measured.")]
WIDTH = 180  # where nothing tells of a terminal's


def profile(
    model: Model = None,
    scheme: Scheme = None,
    channels: Channels = None,
    data: Data = None,
    board: BoardId = None,
    update: UpdateMode = None,
    config_file: ConfigFile = None,
    html: Html = None,
    compare: Compare = None,
    saved: Read = None,
    as_json: AsJson = False,
) -> None:
    """Instructions of one step, node by node, counted on the emulated board; against an earlier build's."""
    job = config.load(config_file, config.given(locals()))
    found = read(saved, _name(job)) if saved else measured(job)
    before = read(compare, found.name) if compare else None
    if as_json:
        sys.stdout.write(found.text(before))
    else:
        _print(found, before)
    if html:
        path = save(page(found, before), html)
        sys.stderr.write(f"{path}\n")


def measured(job: Job) -> Profile:
    """Compile, build, run one step."""
    compiled = prepare.compile_for(job, of_job(job), boards.load(job.board.id))
    folder = BUILD / "profile" / job.board.id
    return Profile(_name(job), bench.measure_compiled(compiled, job.board.id, folder))


def _name(job: Job) -> str:
    case = bench.Case(Path(job.model.name).stem, job.model.scheme, job.train.update)
    return f"{case.key} on {job.board.id}"


def _print(found: Profile, before: Profile | None) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    shown = [compared(before, found, changes(before.rows, found.rows))] if before else tables(found)
    for table in shown:
        console.print(table)
