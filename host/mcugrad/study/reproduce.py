"""Fill the table: tune each cell's rate on validation images, then train its seeds."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from mcugrad.errors import UsageError
from mcugrad.paths import BUILD
from mcugrad.study import page, training
from mcugrad.study.case import FILE, Case, Results
from mcugrad.study.grid import BUDGETS, Strip, strips
from mcugrad.tuning import Score, climbed

KEPT = BUILD / "study"
RATES, CLIMB = (0.002, 0.004, 0.008), 3


def reproduce(only: str, budget: str, workers: int, device: str, folder: Path, console: Console) -> Path:
    """Fill the cells whose name has `only` in it -> the page; what `folder` has already is not run."""
    if budget not in BUDGETS:
        raise UsageError(f"no budget '{budget}'", "--budget", f"use {' or '.join(BUDGETS)}")
    chosen = [s for s in strips(budget) if only in s.name]
    if not chosen:
        raise UsageError(
            f"no cell has '{only}' in its name", "--only", f"names read '{strips(budget)[0].name}'"
        )
    out = folder / FILE
    known = Results(out).all()
    waiting = [s for s in chosen if not s.among(known)]
    console.print(f"{len(chosen) - len(waiting)} of {len(chosen)} cells are in {out}")
    began = time.monotonic()
    with _pool(workers) as pool:
        running = [pool.submit(_fill, strip, out, device) for strip in waiting]
        for count, future in enumerate(as_completed(running), 1):
            left = (time.monotonic() - began) / count * (len(waiting) - count)
            console.print(
                f"[{count}/{len(waiting)}, {left / 60:.0f} min left] {future.result()}", markup=False
            )
            page.write(folder, budget)
    return page.write(folder, budget)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Read by torch when a worker imports it: batches of one are too small to share among threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with, (os.getpid(),))


def _end_with(parent: int) -> None:
    """A worker ends when the command was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _fill(strip: Strip, out: Path, device: str) -> str:
    measure = partial(measured, results=Results(out), device=device)
    lr = climbed(RATES, lambda rate: _score(measure(strip.trial(rate))), CLIMB)
    found = [measure(strip.case(lr, seed)) for seed in range(strip.seeds)]
    reached = ", ".join(f"{r['accuracy'][-1][-1]:.1%}" for r in found)
    return f"{strip.name}: {reached} (lr {lr:g}, {sum(r['seconds'] for r in found):.0f} s)"


def measured(case: Case, results: Results, device: str = "cpu") -> dict[str, Any]:
    """The case's line, after running it where there is none."""
    name = hashlib.sha256(repr(asdict(case)).encode()).hexdigest()[:16]
    figures = results.of(case)
    if figures is None:
        figures = training.run(case, device, KEPT / f"{name}.npz")
        results.add(case, figures)
    return figures


def _score(figures: dict[str, Any]) -> Score:
    """Accuracy on the validation images, then loss; a diverged training is worse than any other."""
    if figures["diverged"]:
        return ()
    return figures["accuracy"][-1][-1], -figures["judged_loss"][-1][-1]
