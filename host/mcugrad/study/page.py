"""The results file as a page: what was asked, a table for each dataset with the paper's figures, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from mcugrad.study import claims, plots
from mcugrad.study.case import FILE, Results
from mcugrad.study.grid import BUDGETS, COLUMNS, PERSON, ROWS, named, strips
from mcugrad.study.table import JUDGED, Cell, Key, Table, error_bar, table

# Top-1 in percent, arXiv 2206.15472 and its scripts: batches, momentum, 50 epochs (VWW 10), whole data.
PAPER: Mapping[tuple[str, str, str], str] = {
    ("flowers102", "mcunet-5fps", "99kb"): "88.8",
    ("flowers102", "mcunet-5fps", "last-6"): "88.1; without QAS 84.3",
    ("flowers102", "mcunet-5fps", "full"): "1.1 (diverges)",
    ("flowers102", "mbv2-w0.35", "99kb"): "85.5",
    ("cifar10", "mcunet-5fps", "last-6"): "86.9; without QAS 75.4",
    ("cifar10", "mbv2-w0.35", "99kb"): "87.0",
    (PERSON, "mcunet-5fps", "last-6"): "89.3; without QAS 85.4 (VWW)",
    (PERSON, "mbv2-w0.35", "99kb"): "88.4 (VWW)",
}
_HEAD = """# Accuracy, with the device's own arithmetic

Made by `mcugrad reproduce` from [results.jsonl](results.jsonl), one line a training. Run it again and it goes
on where it stopped.

- **device 8.8, int8, fp32**: the firmware's generated C, compiled for the host: integer gradients, batch 1,
  no momentum, weights kept as 8 integer + 8 fraction bits, as int8 with stochastic rounding, or as fp32.
- **fp32 gradients**: the same int8 forward pass, gradients and weights in fp32, as the paper simulates; here
  with the device's batch of 1, the same images, epochs and warm-up + cosine schedule.
- The learning rate (after the @) is the best on a fifth of the training images, in factors of two, found for
  each simulated cell and for device 8.8, in part with an earlier arithmetic; the other two modes take the
  latter.
  ± is the standard deviation over three seeds; cells without it are one seed.
- Budget: epochs {budget}; half of the images mirrored. The paper trains 50 epochs (VWW 10) in batches.
- A dash is a cell that no question needs, *not run* one that is still empty.
"""
_CHAIN = "Trained on the first source, then on the second; in brackets, the first (1214 images)."


def write(folder: Path, budget: str) -> Path:
    """README.md and its plots, beside results.jsonl; cells that are asked for and not run yet say so."""
    found = table(Results(folder / FILE), budget)
    asked = [(s.data, s.model, s.scheme, s.column) for s in strips(budget)]
    empty = [key for key in asked if key not in found]
    parts = [_HEAD.format(budget=_budget(budget)), _state(len(asked), empty)]
    parts += [claims.text(found), *plots.write(folder, found)]
    parts += [_section(data, found, empty) for data in BUDGETS[budget].epochs]
    path = folder / "README.md"
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n")
    return path


def _state(asked: int, empty: Sequence[Key]) -> str:
    """What is still empty, in words."""
    if not empty:
        return f"All {asked} cells are there."
    counts = {named(data): sum(key[0] == data for key in empty) for data in claims.DATA}
    shown = ", ".join(f"{data} {count}" for data, count in counts.items() if count)
    return f"**{len(empty)} of {asked} cells are not run yet** ({shown})."


def _section(data: str, found: Table, empty: Sequence[Key]) -> str:
    lines = [f"## {named(data)}", "", "| model, scheme | " + " | ".join(COLUMNS) + " | paper |"]
    lines.append("|-|" + "-:|" * len(COLUMNS) + "-|")
    for model, scheme in ROWS:
        keys = [(data, model, scheme, column) for column in COLUMNS]
        row = [_text(found[k]) if k in found else "*not run*" if k in empty else "–" for k in keys]
        lines.append(f"| {model} {scheme} | {' | '.join(row)} | {PAPER.get((data, model, scheme), '')} |")
    count = JUDGED[data][-1]
    bar = error_bar(80, count)
    lines += ["", f"{count} images judge: one standard error is {bar:.1f} points at 80 %."]
    return "\n".join([*lines, _CHAIN] if ">" in data else lines)


def _text(cell: Cell) -> str:
    if cell.diverged:
        return f"diverged @{cell.lr:g}"
    spread = f" ± {cell.spread():.1f}" if len(cell.reached) > 1 else ""
    earlier = [f"{fmean(r):.1f}" for r in zip(*cell.reached, strict=True)][:-1]
    return f"{cell.mean():.1f}{spread}" + "".join(f" ({e})" for e in earlier) + f" @{cell.lr:g}"


def _budget(name: str) -> str:
    epochs = BUDGETS[name].epochs
    return ", ".join(f"{named(data)}: {' → '.join(map(str, n))}" for data, n in epochs.items())
