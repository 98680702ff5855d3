"""The table's rows: kept as JSON, a line each; shown in the terminal and as a page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from mcugrad import records
from mcugrad.config import Job

COLUMNS = ("scheme", "lr", "before", "after", "board", "statics", "arena", "stack", "RAM", "instructions")
PAGE = """# {title}

{about}.

Accuracy on the held-out images, before and after, is computed by the C that the board runs. Learning rates:
the best of {rates}, or one beyond, on every fifth training image, which is then held back. RAM in
bytes: statics (trained weights and link included), arena, and the stack's high-water mark. Instructions: the
mean over steps spread evenly over the training, counted on the emulated board, which took each from the
host's weights to the same weights as the host, bit for bit.{none}

{rows}

Made by `{command}`.
"""
NONE = """

Where no board is named the scheme fits none: its bytes are the plan's, with the whole stack that a board
reserves, and only the host trained it."""


@dataclass(frozen=True)
class Setting:
    """What a row depends on, beside the code."""

    model: str
    data: str
    scheme: str
    channels: str
    update: str
    epochs: int
    samples: int
    held_out: int
    seed: int
    rates: tuple[float, ...]

    @classmethod
    def of(cls, job: Job, scheme: str, rates: Sequence[float]) -> Setting:
        data, train = job.data, job.train
        counts = (train.epochs, data.samples, data.held_out, data.seed)
        source = Path(data.source).name
        return cls(job.model.name, source, scheme, job.model.channels, train.update, *counts, tuple(rates))

    @property
    def about(self) -> str:
        train, test = (f"{n}" if n else "all" for n in (self.samples, self.held_out))
        images = f"{train} training and {test} held-out images"
        return f"{self.model} on {self.data}: {images}, epochs {self.epochs}, batch 1, update {self.update}"

    def command(self, schemes: Sequence[str]) -> str:
        """What makes the table of this setting's schemes."""
        about = {name: getattr(self, name) for name in ("model", "data", "channels", "update", "epochs")}
        about |= {"samples": self.samples, "held-out": self.held_out, "seed": self.seed}
        about |= {"rates": ",".join(f"{lr:g}" for lr in self.rates), "schemes": ",".join(schemes)}
        return shlex.join(["mcugrad", "modes", *(w for k, v in about.items() for w in (f"--{k}", str(v)))])


@dataclass(frozen=True)
class Cost:
    """Bytes of RAM, and instructions of one step where a board took some."""

    statics: int
    arena: int
    stack: int
    instructions: int | None = None

    @property
    def ram(self) -> int:
        return self.statics + self.arena + self.stack


@dataclass(frozen=True)
class Mode:
    """One scheme's row; accuracies are shares of the held-out images.

    after: None if training diverged. board: the smallest that fits, None if none does; its bytes are then
    planned ones.
    """

    scheme: str
    lr: float
    before: float
    after: float | None
    board: str | None
    cost: Cost

    @property
    def cells(self) -> list[str]:
        cost = self.cost
        counts = [f"{n:,}" for n in (cost.statics, cost.arena, cost.stack, cost.ram)]
        steps = "–" if cost.instructions is None else f"{cost.instructions:,}"
        shares = [percent(self.before), percent(self.after)]
        return [self.scheme, f"{self.lr:g}", *shares, self.board or "none fits", *counts, steps]


class Rows:
    """A file with a JSON object a line: {"setting": ..., "row": ...}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found = {self._key(e["setting"]): _mode(e["row"]) for e in records.read(path)}

    @classmethod
    def of(cls, job: Job, folder: Path) -> Rows:
        return cls(folder / f"{Path(job.model.name).stem}-{Path(job.data.source).name}.jsonl")

    def find(self, setting: Setting) -> Mode | None:
        return self._found.get(self._key(asdict(setting)))

    def add(self, setting: Setting, row: Mode) -> Mode:
        self._found[self._key(asdict(setting))] = row
        records.append(self.path, {"setting": asdict(setting), "row": asdict(row)})
        return row

    def write(self, text: str) -> Path:
        """A page beside the rows."""
        path = self.path.with_suffix(".md")
        path.write_text(text)
        return path

    @staticmethod
    def _key(setting: object) -> str:
        return json.dumps(setting, sort_keys=True)


def _mode(row: dict[str, Any]) -> Mode:
    return Mode(**row | {"cost": Cost(**row["cost"])})


def page(setting: Setting, found: Sequence[Mode]) -> str:
    """The table as Markdown."""
    lines = ["|" + "|".join(cells) + "|" for cells in [list(COLUMNS), _rule(), *(r.cells for r in found)]]
    return PAGE.format(
        title="Training modes side by side",
        about=setting.about,
        rates=", ".join(f"{lr:g}" for lr in setting.rates),
        none="" if all(r.board for r in found) else NONE,
        rows="\n".join(lines),
        command=setting.command([row.scheme for row in found]),
    )


def table(setting: Setting, found: Sequence[Mode]) -> Table:
    """The table for a terminal."""
    shown = Table(title=setting.about)
    for column, rule in zip(COLUMNS, _rule(), strict=True):
        shown.add_column(column, justify="right" if rule.endswith(":") else "left")
    for row in found:
        shown.add_row(*row.cells)
    return shown


def percent(share: float | None) -> str:
    return "diverged" if share is None else f"{share:.1%}"


def _rule() -> list[str]:
    return ["-" if c in ("scheme", "board") else "-:" for c in COLUMNS]
