"""Accuracy by extra memory, and the columns side by side; SVG files beside the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcugrad.report.curves import BLUE, GREY, ORANGE, svg
from mcugrad.study.claims import DATA
from mcugrad.study.grid import COLUMNS, DEVICE, MCUNET, SPARSE, named
from mcugrad.study.table import JUDGED, Table, error_bar

SPARSE_SCHEMES = [scheme for _, scheme in SPARSE]
COLOURS = ["#9aa7ba", "#d9a441", BLUE, ORANGE, "#3f9e6b"]


def write(folder: Path, found: Table) -> list[str]:
    """Draw what there is -> Markdown that shows it."""
    shown = [data for data in DATA if any(key[0] == data for key in found)]
    if not shown:
        return []
    for name, draw in (("memory", _memory), ("columns", _columns)):
        (folder / f"{name}.svg").write_text(svg(draw(found, shown), 3.6 * len(shown), 3.2))
    by_memory = "MCUNet-5FPS, device 8.8: accuracy by what the scheme adds to the memory of inference"
    return [f"![{by_memory}](memory.svg)", f"![MCUNet-5FPS, {COMPARED}: column by column](columns.svg)"]


COMPARED = "99kb"


def _memory(found: Table, shown: list[str]) -> Callable[[Figure], None]:
    def draw(figure: Figure) -> None:
        for axes, data in zip(_row(figure, shown), shown, strict=True):
            mine = {k[2]: c for k, c in found.items() if (k[0], k[1], k[3]) == (data, MCUNET, DEVICE)}
            sparse = [mine[s] for s in SPARSE_SCHEMES if s in mine]
            axes.plot([c.extra for c in sparse], [c.mean() for c in sparse], "o-", color=BLUE, label="sparse")
            for scheme, cell in mine.items():
                if scheme not in SPARSE_SCHEMES:
                    axes.plot(cell.extra, cell.mean(), "s", color=ORANGE)
                    axes.annotate(scheme, (cell.extra, cell.mean()), (4, 4), textcoords="offset points")
            axes.set(title=named(data), xlabel="extra memory (KB)")
            axes.set_xscale("symlog", linthresh=100)
            axes.set_xticks([0, 50, 100, 250, 1000], ["0", "50", "100", "250", "1000"])
        figure.axes[0].set_ylabel("accuracy (%)")

    return draw


def _columns(found: Table, shown: list[str]) -> Callable[[Figure], None]:
    def draw(figure: Figure) -> None:
        for axes, data in zip(_row(figure, shown), shown, strict=True):
            cells = {
                c: found[data, MCUNET, COMPARED, c] for c in COLUMNS if (data, MCUNET, COMPARED, c) in found
            }
            for i, (column, cell) in enumerate(cells.items()):
                error = max(error_bar(cell.mean(), JUDGED[data][-1]), cell.spread())
                colour = COLOURS[list(COLUMNS).index(column)]
                axes.bar(i, cell.mean(), 0.7, yerr=error, color=colour, ecolor=GREY, capsize=3)
                axes.annotate(f"{cell.mean():.1f}", (i, cell.mean()), (0, -14), textcoords="offset points",
                              ha="center", color="white", fontweight="bold")  # fmt: skip
            axes.set(title=named(data))
            if cells:
                axes.set_ylim(min(c.mean() for c in cells.values()) - 12)
            axes.set_xticks(range(len(cells)), [c.replace(", ", ",\n").replace(" gr", "\ngr") for c in cells])
            axes.tick_params(axis="x", labelsize=7)
        figure.axes[0].set_ylabel("accuracy (%)")

    return draw


def _row(figure: Figure, shown: list[str]) -> list[Axes]:
    return list(figure.subplots(1, len(shown), squeeze=False)[0])
