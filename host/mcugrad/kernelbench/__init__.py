"""Instructions of single kernels on the emulated board, beside the peers', the bar and a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mcugrad import baselines
from mcugrad.kernelbench import page
from mcugrad.kernelbench.cases import CASES, Kernel
from mcugrad.kernelbench.program import count
from mcugrad.paths import BUILD, KERNELS, ROOT

PAGE = KERNELS / "README.md"
BASELINES = ROOT / "host" / "tests" / "golden" / "kernels.json"


@dataclass(frozen=True)
class Found:
    """What one call of a kernel takes."""

    kernel: Kernel
    instructions: int
    cycles: int

    def each(self) -> float:
        """Instructions a MAC."""
        return self.instructions / self.kernel.work()


def measure(board: str, folder: Path, only: str = "") -> list[Found]:
    kernels = [k for k in CASES if only in k.label]
    return [Found(k, *figures) for k, figures in zip(kernels, count(kernels, board, folder), strict=True)]


def run(board: str, console: Console, update: bool = False, only: str = "") -> list[Found]:
    """Measure, print; renew the baselines, and with them the table of kernels/README.md, if asked."""
    found = measure(board, BUILD / "kernelbench", only)
    console.print(table(found))
    if update:
        baselines.renew(BASELINES, {f.kernel.label: f.instructions for f in found})
        page.put(PAGE, baselines.load(BASELINES))
    return found


def rises(found: list[Found], base: Mapping[str, int]) -> list[str]:
    """Kernels more than 1 % above their baseline, in words; one without a baseline is one too."""
    return [
        f"{f.kernel.label}: {f.instructions:,} over {base.get(f.kernel.label, 0):,}"
        for f in found
        if baselines.risen(f.instructions, base.get(f.kernel.label, 0))
    ]


def table(found: list[Found]) -> Table:
    out = Table(title="instructions a MAC, one call")
    for column in (
        "kernel",
        "MACs",
        "CMSIS-NN",
        "TinyEngine",
        "mcugrad",
        "bar",
        "cycles, estimated",
        "total",
    ):
        out.add_column(column, justify="left" if column == "kernel" else "right")
    for f in found:
        k = f.kernel
        cmsis, tte, goal = (*k.peers, None, None, None)[:3]
        peers = ["" if x is None else f"{x:.2f}" for x in (cmsis, tte)]
        bar = "" if goal is None else f"{'✓' if f.each() <= goal else '✗'} {goal:.2f}"
        ours, cycles = f"{f.each():.2f}", f"{f.cycles / k.work():.2f}"
        out.add_row(k.label, f"{k.work():,}", *peers, ours, bar, cycles, f"{f.instructions:,}")
    return out
