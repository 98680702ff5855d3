"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from mcugrad import (
    baselines,
    boards,
    budget,
    build,
    config,
    custom,
    dashboard,
    kernelbench,
    pipeline,
    prepare,
    recorded,
    run,
    stack,
)
from mcugrad import bench as benchmark
from mcugrad import modes as training_modes
from mcugrad.config import Job
from mcugrad.doctor import examine
from mcugrad.errors import InternalError, McugradError, UserError
from mcugrad.frontend import models
from mcugrad.options import (
    AsJson,
    BoardId,
    Channels,
    ConfigFile,
    Data,
    Epochs,
    HeldOut,
    Html,
    Model,
    Out,
    Port,
    Rate,
    Resume,
    Samples,
    Scheme,
    Seed,
    Tui,
    UpdateMode,
)
from mcugrad.pipeline import Compiled
from mcugrad.plan.fit import fit
from mcugrad.plan.report import describe
from mcugrad.profile import profile
from mcugrad.report import memory, save
from mcugrad.search import commands
from mcugrad.sources import of_job
from mcugrad.study.command import reproduce
from mcugrad.validate.command import validate
from mcugrad.view import view

app = typer.Typer(
    help="Train neural networks on microcontrollers, bit for bit what you simulate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
solo = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

Dump = Annotated[
    str | None, typer.Option(help="Print one stage: import, differentiate, optimise, calibrate, plan.")
]
Update = Annotated[bool, typer.Option("--update", help="Renew the stored baselines.")]
Schemes = Annotated[str, typer.Option(help="Schemes, with commas between; default: one of each kind.")]
Rates = Annotated[str, typer.Option(help="Learning rates to choose from, with commas between.")]
Only = Annotated[str, typer.Option(help="Only cases whose name has this in it.")]
Every = Annotated[bool, typer.Option("--all", help="The int8 update of every scheme too.")]


@solo.command()
@app.command("run", hidden=True)
@app.command()
def train(
    model: Model = None,
    scheme: Scheme = None,
    channels: Channels = None,
    data: Data = None,
    board: BoardId = None,
    port: Port = None,
    epochs: Epochs = None,
    lr: Rate = None,
    update: UpdateMode = None,
    samples: Samples = None,
    held_out: HeldOut = None,
    seed: Seed = None,
    out: Out = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
    tui: Tui = False,
    resume: Resume = None,
) -> None:
    """Train on a board: held-out accuracy before and after, report, trained weights."""
    flags = config.given(locals())
    if tui:
        dashboard.show(resume, flags, config_file)
    elif resume:
        run.resume(resume, flags, view(as_json))
    else:
        run.train(config.load(config_file, flags), view(as_json))


@app.command("compile")
def compile_(
    model: Model = None,
    scheme: Scheme = None,
    channels: Channels = None,
    data: Data = None,
    board: BoardId = None,
    update: UpdateMode = None,
    config_file: ConfigFile = None,
    dump: Dump = None,
) -> None:
    """Write the C of one training step."""
    job = config.load(config_file, config.given(locals()))
    texts: dict[str, str] = {}
    compiled = _compiled(job, texts.__setitem__)
    folder = pipeline.generate(compiled, job.board.id)
    if dump is not None and dump not in texts:
        raise UserError(f"no stage '{dump}'", "--dump", f"use one of {', '.join(texts)}")
    sys.stdout.write(texts[dump] if dump else f"{folder}\n")


@app.command()
def plan(
    model: Model = None,
    scheme: Scheme = None,
    channels: Channels = None,
    data: Data = None,
    board: BoardId = None,
    update: UpdateMode = None,
    config_file: ConfigFile = None,
    html: Html = None,
    limit: Annotated[
        str | None, typer.Option("--budget", help="Which schemes fit, as 96KB; 6: not this.")
    ] = None,
) -> None:
    """Memory by region, live bytes over time and the buffers at the peak, before anything is built."""
    job = config.load(config_file, config.given(locals()))
    most, target = budget.parse(limit) if limit else 0, boards.load(job.board.id)
    source = of_job(job)
    forward = models.load(job.model.name, len(source.classes), job.data.seed)
    choices = prepare.choices_of(job)
    asked = budget.planned(forward, job.model.scheme, target, **choices)
    sys.stdout.write(describe(asked.graph, asked.plan, asked.fit))
    if html:
        page = memory.page(asked.graph, asked.plan, asked.fit, job.model.scheme, target.name)
        sys.stdout.write(f"{save(page, html)}\n")
    if limit:
        found = budget.survey(forward, asked, target, **choices)
        Console().print(budget.table(found, asked.scheme, most))
        budget.refuse(asked, found, most)
    fit(asked.graph, asked.plan, target)


@app.command("build")
def build_(
    model: Model = None,
    scheme: Scheme = None,
    channels: Channels = None,
    data: Data = None,
    board: BoardId = None,
    update: UpdateMode = None,
    config_file: ConfigFile = None,
) -> None:
    """Compile and link the board's image."""
    job = config.load(config_file, config.given(locals()))
    elf = build.build(job.board.id, pipeline.generate(_compiled(job), job.board.id))
    size = build.size(elf, boards.load(job.board.id))
    sys.stdout.write(
        f"{elf}\nflash {size.flash:,}  static {size.static:,}  arena {size.arena:,}  stack {size.stack:,}\n"
    )
    sys.stdout.write(f"{stack.fit(elf, size.stack)}\n")


@app.command()
def bench(board: BoardId = None, only: Only = "", update: Update = False, every: Every = False) -> None:
    """Instructions, RAM and flash of one training step, beside the peers'; fails on a rise above 1 %."""
    found = benchmark.run(board or Job().board.id, Console(), update, only, every)
    _refuse(benchmark.rises(found))


@app.command("bench-kernels")
def bench_kernels(board: BoardId = None, only: Only = "", update: Update = False) -> None:
    """Instructions a MAC of single kernels, beside the peers' and the bar; fails on a rise above 1 %."""
    found = kernelbench.run(board or Job().board.id, Console(), update, only)
    _refuse(kernelbench.rises(found, baselines.load(kernelbench.BASELINES)))


def _refuse(rises: list[str]) -> None:
    """End with code 1 where a figure is above its baseline."""
    if rises:
        sys.stderr.write("\n".join(["more than the baseline:", *rises, ""]))
        raise typer.Exit(1)


@app.command()
def modes(
    model: Model = None,
    channels: Channels = None,
    data: Data = None,
    board: BoardId = None,
    epochs: Epochs = None,
    update: UpdateMode = None,
    samples: Samples = None,
    held_out: HeldOut = None,
    seed: Seed = None,
    config_file: ConfigFile = None,
    schemes: Schemes = "",
    rates: Rates = training_modes.RATES,
    out: Annotated[Path, typer.Option(help="Folder that keeps the rows.")] = training_modes.FOLDER,
) -> None:
    """Accuracy, RAM and instructions of several schemes in one table. Goes on where it stopped."""
    flags = config.given(locals())
    del flags["out"]  # there it names another folder
    job, chosen = config.load(config_file, flags), config.rates(rates)
    wanted = schemes.split(",") if schemes else training_modes.default_schemes(job.model.name)
    training_modes.modes(job, wanted, chosen, Console(width=130), out)


@app.command("import")
def import_(
    network: Annotated[str, typer.Argument(help="FILE.py:function that returns your trained torch module.")],
    data: Annotated[str, typer.Option(help="Dataset or folder that calibrates the quantisation.")],
    size: Annotated[str, typer.Option(help="What it takes: HEIGHTxWIDTHxCHANNELS, as 96x96x3.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.safetensors"),
    config_file: ConfigFile = None,
) -> None:
    """Quantise your own network: the file it writes is a --model."""
    job = config.load(config_file, {"data": data})
    sys.stdout.write(f"{custom.import_network(network, job, size, out)}\n")


@app.command()
def doctor(port: Annotated[str | None, typer.Option("--port", "-p", help="This board only.")] = None) -> None:
    """What this machine and its boards have and lack, with the fix for each lack."""
    console, findings = Console(highlight=False, soft_wrap=True), examine(port)
    for f in findings:
        sign = "[green]✓[/]" if not f.fix else "[red]✗[/]" if f.needed else "[yellow]–[/]"
        fix = f"  [dim]{escape(f.fix)}[/]" if f.fix else ""
        console.print(f"{sign} {f.name:<18} {escape(f.found)}{fix}")
    if any(f.fix and f.needed for f in findings):
        raise typer.Exit(1)


AFTER = (recorded.report, recorded.export, recorded.replay, validate)
for command in (*AFTER, profile, reproduce, commands.contribute, commands.search, commands.compare):
    app.command()(command)


def _compiled(job: Job, dump: pipeline.Dump | None = None) -> Compiled:
    source = of_job(job)
    return prepare.compile_for(job, source, boards.load(job.board.id), dump)


def main() -> None:
    """The `mcugrad` command."""
    _exit(app)


def train_on_board() -> None:
    """host/train_on_board.py: `mcugrad train` alone."""
    _exit(solo)


def _exit(command: typer.Typer) -> None:
    """Run it; errors go to standard error with their own exit code."""
    try:
        command()
    except McugradError as error:
        kind = "internal error, please report it" if isinstance(error, InternalError) else "error"
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold red]{kind}:[/] {escape(str(error))}"
        )
        sys.exit(error.exit_code)
