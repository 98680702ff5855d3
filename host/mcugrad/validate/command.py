"""`mcugrad validate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mcugrad import config
from mcugrad.config import Job
from mcugrad.errors import MismatchError
from mcugrad.options import (
    AsJson,
    BoardId,
    Channels,
    ConfigFile,
    Data,
    Model,
    Port,
    Rate,
    Scheme,
    Seed,
    UpdateMode,
)
from mcugrad.prepare import Prepared, prepare
from mcugrad.train import order
from mcugrad.validate.compare import Cell, Comparison, compare
from mcugrad.validate.executions import Sample, executions
from mcugrad.view import view

Count = Annotated[int, typer.Option("--count", "-n", min=1, help="Samples, each a training step.")]


def validate(
    count: Count = 4,
    model: Model = None,
    scheme: Scheme = None,
    channels: Channels = None,
    data: Data = None,
    board: BoardId = None,
    port: Port = None,
    lr: Rate = None,
    update: UpdateMode = None,
    seed: Seed = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The same batch through torch, host C, the emulated board and (--port) a real one; 7: not equal."""
    job = config.load(config_file, config.given(locals()))
    found = run(job, count, as_json)
    if as_json:
        about = {"model": job.model.name, "scheme": job.model.scheme, "board": job.board.id}
        sys.stdout.write(json.dumps(about | {"lr": job.train.lr} | found.json()) + "\n")
    else:
        show(found, Console(highlight=False))
    refuse(found)


def run(job: Job, count: int, silent: bool) -> Comparison:
    """Compile and build the job, and compare its executions on the first samples of its training."""
    tell = (lambda event: None) if silent else view(False)
    ready = prepare(job, tell)
    with executions(ready, tell) as (found, absent):
        return compare(ready.compiled.graph, found, absent, batch(ready, count))


def batch(ready: Prepared, count: int) -> Iterator[Sample]:
    """The samples that a training of the job would begin with, all at its highest rate."""
    samples, job = ready.split.train, ready.job
    for step, index in enumerate(order(job.data.seed, 0, len(samples))[:count], 1):
        x, label = samples.trained(index, 0)
        yield Sample(step, x, label, job.train.lr)


def show(found: Comparison, console: Console) -> None:
    """A line a tensor, then one an execution."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("tensor", "op", "phase", "type", "largest"):
        table.add_column(name, justify="right" if name == "largest" else "left", overflow="fold")
    for e in found.executions:
        table.add_column(e.name)
    for row in found.rows:
        kind = f"{row.dtype}[{'x'.join(map(str, row.shape))}]"
        cells = [_cell(row.cells.get(e.name)) for e in found.executions]
        table.add_row(row.name, row.op, row.phase, kind, f"{row.largest:.4g}", *cells)
    # Piped there is no width; a table that is cut says less than a long line.
    Console(file=console.file, width=max(console.width, 150), highlight=False).print(table)
    _summary(found, console)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "[dim]not shown[/]"
    if cell.equal:
        return "[green]=[/]"
    return f"[red]max error {cell.error:.4g}, {cell.different} of {cell.elements}[/]"


def _summary(found: Comparison, console: Console) -> None:
    for e in found.executions:
        bad = len(found.different(e.name))
        sign, verdict = ("[red]✗[/]", f"{bad} differ") if bad else ("[green]✓[/]", "all equal (==)")
        shown = f"{found.shown(e.name)} of {len(found.rows)} tensors, {verdict}"
        about = f"shows {e.shows}  [dim]{escape(e.where)}[/]"
        console.print(f"{sign} {e.name:<9} {shown}; {about}", soft_wrap=True)
    for absent in found.absent:
        console.print(f"[yellow]–[/] {absent.name:<9} [dim]{escape(absent.why)}[/]", soft_wrap=True)
    console.print(f"{found.samples} samples, each forward, backward and update, beside the numpy reference")


def refuse(found: Comparison) -> None:
    """MismatchError naming the first tensor of each execution that differs."""
    bad: dict[str, Any] = {e.name: rows for e in found.executions if (rows := found.different(e.name))}
    if bad:
        what = "; ".join(f"{name} differs in {len(rows)} tensors" for name, rows in bad.items())
        where = "; ".join(f"{name}: first in {rows[0].name}" for name, rows in bad.items())
        raise MismatchError(what, where, "report it with this table; `--json` has every figure")
