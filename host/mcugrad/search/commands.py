"""The commands `mcugrad contribute`, `search` and `compare`; torch and optuna are loaded when one runs."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.passes.schemes import convolutions
from mcugrad.paths import BUILD
from mcugrad.search.gains import CLASSES, Training

Contributions = Annotated[Path, typer.Argument(help="What `mcugrad contribute` wrote.")]
Data = Annotated[str, typer.Option(help="Dataset by name, or a folder with one sub-folder per class.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Model by name, or a .safetensors file.")]
Samples = Annotated[int, typer.Option(min=0, help="Training images; 0: all.")]
Epochs = Annotated[int, typer.Option(min=1, help="Times that every image is seen.")]
Batch = Annotated[int, typer.Option(min=1, help="Images a step.")]
Rate = Annotated[float, typer.Option(min=1e-9, help="Highest learning rate.")]
Rates = Annotated[str, typer.Option(help="Learning rates to choose from, with commas between.")]
Seeds = Annotated[int, typer.Option(min=1, help="Trainings of each scheme.")]
Seed = Annotated[int, typer.Option(min=0, help="Of head, order, and the search's random numbers.")]
Threads = Annotated[int, typer.Option(min=0, help="Cores that torch takes; 0: all.")]
Gradients = Annotated[str, typer.Option(help="fp32 (fast) or integer (the device's).")]


def contribute(
    out: Annotated[Path, typer.Option(help="File of JSON lines; it goes on where it stopped.")],
    model: Model = "digits-tiny",
    data: Data = "paper-digits",
    layers: Annotated[str, typer.Option(help="Convolutions, as '15-41' or '21 24'; default: all.")] = "",
    samples: Samples = 0,
    epochs: Epochs = 4,
    batch: Batch = 16,
    lr: Rate = 0.03,
    gradients: Gradients = "fp32",
    seed: Seed = 0,
    threads: Threads = 0,
) -> None:
    """What training each layer's weights, and the last k biases, adds to the head alone; for `search`."""
    if gradients not in ("fp32", "integer"):
        raise UserError(f"no gradients '{gradients}'", "--gradients", "use fp32 or integer")
    module, short = _load("search.contribute"), _load("search.short")
    short.limit(threads)
    count = len(convolutions(models.load(model, CLASSES)))
    training = Training(model, data, samples, epochs, batch, gradients)
    wanted = module.cells(module.layers(layers, count), count)
    module.contribute(module.Analysis(training, lr, seed), wanted, out, _tell)


def search(
    contributions: Contributions,
    budget: Annotated[str, typer.Option(help="Memory: 99KB, or bytes.")],
    measure: Annotated[str, typer.Option(help="analytic (the paper's extra memory) or ram (whole).")] = "ram",
    instructions: Annotated[float, typer.Option(min=0, help="Of a step, at most; 0: any number.")] = 0,
    board: Annotated[str, typer.Option("--board", "-b", help="Board by its id.")] = "nucleo_f746zg",
    by: Annotated[str, typer.Option(help="Gain in loss (less noisy) or accuracy.")] = "loss",
    trials: Annotated[int, typer.Option(min=1, help="Schemes to try, all workers together.")] = 3000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; others may join from elsewhere.")] = 1,
    storage: Annotated[str, typer.Option(help="Any optuna storage; default: search.db in --out.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of front, picture and finalists.")] = BUILD / "search",
    finalists: Annotated[int, typer.Option(min=0, help="Best of the front to train for real.")] = 4,
    epochs: Epochs = 6,
    rates: Rates = "0.01,0.03,0.1",
    seeds: Seeds = 1,
    seed: Seed = 0,
    threads: Threads = 0,
) -> None:
    """Find the scheme with the largest sum of contributions within the budgets; goes on where it stopped."""
    choices = {"--measure": (measure, ("analytic", "ram")), "--by": (by, ("loss", "accuracy"))}
    for flag, (given, known) in choices.items():
        if given not in known:
            raise UserError(f"no '{given}'", flag, f"use {' or '.join(known)}")
    pool, end = _load("search.workers"), _load("search.finish")
    _load("search.short").limit(threads)
    final = end.Final(finalists, epochs, _rates(rates), seeds)
    where = storage or f"sqlite:///{out / 'search.db'}"
    plan = pool.Plan(contributions, board, _bytes(budget), measure, int(instructions), by, where, seed)
    out.mkdir(parents=True, exist_ok=True)
    evolution = pool.evolve(plan, trials, workers, _tell)
    scores = end.finish(evolution, plan, final, out, _tell)
    best = scores[0].scheme if scores else str(evolution.front()[0].scheme)
    _tell(f"{out / end.PICTURE}\nbest: {best}")


def compare(
    schemes: Annotated[list[str], typer.Argument(help="Schemes: names, or '22 21:1 24:1/4'.")],
    out: Annotated[Path, typer.Option(help="File of JSON lines; it goes on where it stopped.")],
    model: Model = "digits-tiny",
    data: Data = "paper-digits",
    samples: Samples = 0,
    epochs: Epochs = 4,
    batch: Batch = 16,
    gradients: Gradients = "integer",
    rates: Rates = "0.01,0.03,0.1",
    seeds: Seeds = 3,
    threads: Threads = 0,
) -> None:
    """Held-out accuracy of schemes, each at its best rate on a validation split."""
    module, short = _load("search.final"), _load("search.short")
    short.limit(threads)
    training = Training(model, data, samples, epochs, batch, gradients)
    module.Trials(training, schemes, out, _tell).compare(_rates(rates), seeds, "test")


def _load(name: str) -> Any:
    try:
        return importlib.import_module(f"mcugrad.{name}")
    except ModuleNotFoundError as error:
        fix = "pip install 'mcugrad[search]'"
        raise UserError(f"{error.name} is not installed", f"import {error.name}", fix) from None


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|B|)", text.strip(), re.IGNORECASE)
    if not match:
        raise UserError(f"unreadable budget '{text}'", "--budget", "write 99KB, or a number of bytes")
    return int(float(match[1]) * (1024 if match[2].upper() == "KB" else 1))


def _rates(text: str) -> list[float]:
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = [0.0]
    if not all(0 < rate < float("inf") for rate in found):
        raise UserError(f"unreadable rates '{text}'", "--rates", "write positive numbers: 0.01,0.03")
    return found
