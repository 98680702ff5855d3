"""The table that `mcugrad reproduce` fills: which trainings, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mcugrad.study.case import Case

# Columns: the paper's simulation beside the device's arithmetic in its three update modes.
SIMULATED, NO_QAS = "fp32 gradients", "fp32 gradients, no QAS"
COLUMNS: Mapping[str, Mapping[str, Any]] = {
    SIMULATED: {"gradients": "fp32", "update": "fp32"},
    NO_QAS: {"gradients": "fp32", "update": "fp32", "qas": False},
    "device 8.8": {"update": "8.8"},
    "device int8": {"update": "int8"},
    "device fp32": {"update": "fp32"},
}
DEVICE = "device 8.8"

Row = tuple[str, str]  # model, scheme
MCUNET = "mcunet-5fps"
SPARSE = [(MCUNET, scheme) for scheme in ("49kb", "74kb", "99kb", "125kb", "148kb")]
OTHERS = [(MCUNET, scheme) for scheme in ("last-1", "last-6", "bias-only", "head-only", "full")]
SMALLER = [("mbv2-w0.35", "99kb"), ("proxyless-w0.3", "98kb")]
ROWS = [*SPARSE, *OTHERS, *SMALLER]
CLAIMED = [(MCUNET, "99kb"), (MCUNET, "last-6")]
COMPARED = [(MCUNET, "49kb"), *CLAIMED, *SMALLER]
SEEDED: Row = (MCUNET, "99kb")


@dataclass(frozen=True)
class Budget:
    """Epochs on each dataset, and the share of them that a rate is tried with."""

    epochs: Mapping[str, tuple[int, ...]]
    trial: float

    def trial_epochs(self, data: str) -> tuple[int, ...]:
        return (max(1, round(self.trial * self.epochs[data][0])),)


PERSON = "vww_voc07>vww_coco"
BUDGETS: Mapping[str, Budget] = {
    "short": Budget({"flowers102": (8,), "cifar10": (2,), PERSON: (3, 6)}, 0.375),
    "paper": Budget({"flowers102": (50,), "cifar10": (50,), PERSON: (10, 10)}, 0.2),
}


def named(data: str) -> str:
    """Sources in words."""
    return data.replace(">", " → ")


@dataclass(frozen=True)
class Strip:
    """One cell of the table: a rate is found on validation images, then each seed is trained and judged."""

    model: str
    scheme: str
    column: str
    data: str
    seeds: int
    budget: str

    @property
    def name(self) -> str:
        return f"{self.model} {self.scheme}, {self.column}, {self.data}"

    def case(self, lr: float, seed: int = 0) -> Case:
        """The training that the table shows."""
        return self._case(self.column, lr, seed)

    def trial(self, lr: float) -> Case:
        """The shorter training that judges a rate; on the first source alone, the device's modes as one."""
        column = self.column if self.column in (SIMULATED, NO_QAS) else DEVICE
        epochs, first = BUDGETS[self.budget].trial_epochs(self.data), self.data.split(">")[0]
        return replace(self._case(column, lr, 0), epochs=epochs, data=first, judge="validation")

    def _case(self, column: str, lr: float, seed: int) -> Case:
        epochs, about = BUDGETS[self.budget].epochs[self.data], dict(COLUMNS[column])
        return Case(self.model, self.data, self.scheme, epochs=epochs, lr=lr, seed=seed, flip=True, **about)

    def among(self, known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The lines of all the cell's seeds at one rate, or none as long as one is missing."""
        lines = {line["case"]: line for line in known}
        for case in lines:
            wanted = [self.case(case.lr, seed) for seed in range(self.seeds)]
            if all(w in lines for w in wanted):
                return [lines[w] for w in wanted]
        return []


def strips(budget: str) -> list[Strip]:
    """All cells, those that the paper's claims rest on first."""
    return sorted((s for data in BUDGETS[budget].epochs for s in _of(data, budget)), key=_urgency)


def _of(data: str, budget: str) -> list[Strip]:
    asked = [(row, column) for row in ROWS for column in COLUMNS if _asked(row, column)]
    return [Strip(*row, column, data, _seeds(row, column), budget) for row, column in asked]


def _asked(row: Row, column: str) -> bool:
    """A simulated step takes six times as long as the device's: only where a claim needs it."""
    return column == DEVICE or row in {SIMULATED: CLAIMED, NO_QAS: CLAIMED}.get(column, COMPARED)


def _seeds(row: Row, column: str) -> int:
    """Three where a claim rests on the cell."""
    return 3 if column in (SIMULATED, NO_QAS) or (row, column) == (SEEDED, DEVICE) else 1


def _urgency(strip: Strip) -> tuple[bool, bool, bool]:
    """What is run first sorts first: the seeded row, and whole networks last."""
    slow = strip.scheme in ("full", "bias-only")
    return ((strip.model, strip.scheme) != SEEDED, slow, strip.column != DEVICE)
