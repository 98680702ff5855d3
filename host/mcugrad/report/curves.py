"""Loss, accuracy and buffer lifetimes as figures; SVG for the page, PNG for elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

Rows = Sequence[dict[str, Any]]
_LOW = 0.12  # an accuracy with no room beneath

BLUE, ORANGE, GREY, INK = "#2f6fde", "#e07b1a", "#b9c3d3", "#243044"
PHASES = {"forward": BLUE, "backward": ORANGE, "update": "#3f9e6b"}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8ecf2",
    "text.color": INK,
    "xtick.color": "#5b6778",
    "ytick.color": "#5b6778",
    "legend.frameon": False,
    # The same run gives the same bytes.
    "svg.hashsalt": "mcugrad",
    "svg.fonttype": "none",
}


def svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
    """The figure as an <svg> element; sizes in inches, scaled by the page."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def png(draw: Callable[[Figure], None], path: Path, width: float, height: float) -> None:
    """The figure as a file."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(path, dpi=130, facecolor="white", metadata={"Software": None})


def curves(steps: Rows, evals: Rows) -> Callable[[Figure], None]:
    """Loss on the left, accuracy on the right."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        _loss(left, steps, evals)
        _accuracy(right, steps, evals)
        for axes in (left, right):
            axes.set_xlabel("training step")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.margins(x=0.02)

    return draw


def _loss(axes: Axes, steps: Rows, evals: Rows) -> None:
    x, y = _column(steps, "step"), _column(steps, "loss")
    axes.plot(x, y, ".", color=GREY, markersize=2.5, alpha=0.6, label="each step", zorder=1)
    axes.plot(x, _smooth(y), color=BLUE, linewidth=1.8, label="smoothed", zorder=3)
    _held_out(axes, evals, "loss")
    axes.set_ylim(0, _ceiling(y, _column(evals, "loss")))
    axes.set_title("Loss", loc="left", fontweight="bold")
    axes.legend()


def _ceiling(*series: NDArray[np.float64]) -> float:
    """Top of the axis: rare spikes would flatten everything else."""
    everything = np.concatenate([s for s in series if len(s)] or [np.ones(1)])
    return max(float(np.quantile(everything, 0.98)) * 1.15, 0.1)


def _accuracy(axes: Axes, steps: Rows, evals: Rows) -> None:
    right = (_column(steps, "label") == _column(steps, "predicted")).astype(float)
    axes.plot(
        _column(steps, "step"), _smooth(right), color=BLUE, linewidth=1.8, label="while training, smoothed"
    )
    _held_out(axes, evals, "accuracy")
    # Beneath the last point, above the first: there the curve leaves room.
    low = bool(evals) and evals[-1]["accuracy"] < _LOW
    for row, offset, place in zip(
        (evals[:1], evals[-1:]), ((8, 8), (-2, 8 if low else -18)), ("left", "right"), strict=True
    ):
        for at in row:
            _note(axes, (at["step"], at["accuracy"]), offset, place)
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0%}"))
    axes.set_title("Accuracy", loc="left", fontweight="bold")
    axes.legend(loc="best")


def _note(axes: Axes, point: tuple[float, float], offset: tuple[int, int], place: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
    options: Any = {"color": ORANGE, "fontweight": "bold", "zorder": 6, "bbox": box}
    axes.annotate(f"{point[1]:.1%}", point, offset, textcoords="offset points", ha=place, **options)


def _held_out(axes: Axes, evals: Rows, name: str) -> None:
    # Between two points alone a line would tell of what nobody measured.
    style = "o--" if len(evals) > 2 else "o"
    axes.plot(_column(evals, "step"), _column(evals, name), style, color=ORANGE, label="held out", zorder=5)


def _column(rows: Rows, name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], np.float64)


def _smooth(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential mean over about a thirtieth of the run, without the bias of its start."""
    keep = 1 - 1 / max(5.0, len(y) / 30)
    total = weight = 0.0
    out = np.empty_like(y)
    for i, value in enumerate(y):
        total, weight = keep * total + value, keep * weight + 1
        out[i] = total / weight
    return out


def arena(buffers: Sequence[Sequence[Any]], nodes: Rows, size: int) -> Callable[[Figure], None]:
    """Each buffer a rectangle: nodes it lives through by bytes it covers, in its first phase's colour."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _rectangles(axes, buffers, nodes, size)
        axes.set_xlabel("node of the step function")

    return draw


def lives(
    buffers: Sequence[Sequence[Any]], nodes: Rows, size: int, live: Sequence[int], bound: int
) -> Callable[[Figure], None]:
    """Live bytes over the nodes, above the rectangles; rectangle i is the SVG group buffer-i."""

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.4))
        _live(upper, live, bound)
        _rectangles(lower, buffers, nodes, size)
        lower.set_xlabel("node of the step function")

    return draw


def _live(axes: Axes, live: Sequence[int], bound: int) -> None:
    kilobytes = np.array([*live, live[-1] if live else 0]) / 1024
    axes.fill_between(range(len(kilobytes)), kilobytes, step="post", color=BLUE, alpha=0.25)
    axes.step(range(len(kilobytes)), kilobytes, where="post", color=BLUE, linewidth=1.4)
    axes.axhline(bound / 1024, color=ORANGE, linewidth=1, linestyle="--")
    axes.annotate(
        f"needed by this order {bound / 1024:.1f} KB", (len(live), bound / 1024), (-4, 4),
        textcoords="offset points", ha="right", color=ORANGE,
    )  # fmt: skip
    axes.set(ylabel="live (KB)", ylim=(0, max(float(kilobytes.max()), bound / 1024) * 1.25))


def _rectangles(axes: Axes, buffers: Sequence[Sequence[Any]], nodes: Rows, size: int) -> None:
    for i, (_, offset, nbytes, first, last) in enumerate(buffers):
        phase = nodes[first]["phase"] if first < len(nodes) else "forward"
        width = last - first + 1
        axes.bar(first, nbytes / 1024, width, offset / 1024, align="edge", color=PHASES.get(phase, GREY),
                 alpha=0.75, edgecolor="white", linewidth=0.6, gid=f"buffer-{i}")  # fmt: skip
    axes.axhline(size / 1024, color=INK, linewidth=1, linestyle="--")
    axes.annotate(f"arena {size / 1024:.1f} KB", (0, size / 1024), (4, 4), textcoords="offset points")
    axes.set(ylabel="address in the arena (KB)", xlim=(0, len(nodes)), ylim=(0, size / 1024 * 1.12))


def confusion(counts: NDArray[np.int64], classes: Sequence[str]) -> Callable[[Figure], None]:
    """counts[label, predicted] as squares; each row is shaded by its share."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                dark = shares[row, column] > 0.5
                axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else INK)
        ticks, long = range(len(classes)), max(map(len, classes)) > 2
        axes.set_xticks(ticks, classes, rotation=45 if long else 0, ha="right" if long else "center")
        axes.set_yticks(ticks, classes)
        axes.set(xlabel="predicted", ylabel="label")
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)

    return draw
