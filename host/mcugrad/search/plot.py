"""The front of a search as a picture: memory against gain, the model's known schemes marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure

from mcugrad.report.curves import BLUE, GREY, INK, ORANGE
from mcugrad.search.evolve import Found

_AXES = {"analytic": "extra memory, as the paper counts it (KB)", "ram": "RAM of the board (KB)"}
_GAINS = {"loss": "sum of contributions (nats of loss)", "accuracy": "sum of contributions (accuracy)"}


def pareto(
    front: Sequence[Found],
    marked: Mapping[str, Found],
    chosen: Found | None,
    measure: str,
    by: str,
) -> Callable[[Figure], None]:
    """front: what the search found; marked: schemes by name, to compare with; chosen: the one to take."""

    def place(found: Found) -> tuple[float, float]:
        return found.cost.memory(measure) / 1024, found.gain

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        instructions = [f.cost.instructions / 1e6 for f in front]
        memory, gain = zip(*map(place, front), strict=True)
        points = axes.scatter(memory, gain, c=instructions, cmap="viridis", s=14)
        figure.colorbar(points, ax=axes, label="instructions of a step (million)")
        for name, found in marked.items():
            axes.plot(*place(found), marker="D", color=ORANGE, markeredgecolor="white")
            axes.annotate(name, place(found), (5, -11), textcoords="offset points", color=INK)
        if chosen:
            axes.plot(*place(chosen), marker="o", markersize=12, fillstyle="none", color=BLUE)
        axes.set(xlabel=_AXES[measure], ylabel=_GAINS[by])
        axes.grid(color=GREY, alpha=0.4)

    return draw
