"""A night as one page without anything loaded from elsewhere: tests, figures against baselines, trends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, FileSystemLoader
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from hil_tests import figures
from hil_tests.history import Point, flat
from mcugrad.report.curves import BLUE, ORANGE, svg
from mcugrad.report.page import environment

if TYPE_CHECKING:
    from hil_tests.nightly import Night

Row = dict[str, Any]
_COLOURS = (BLUE, ORANGE, "#3f9e6b", "#8a5bd1")
_DRAWN = ("instructions", "cycles", "flash_bytes", "arena_bytes", "static_bytes", "stack_bytes")


def render(revision: str, nights: list[Night], trends: Mapping[tuple[str, str], Any]) -> str:
    """The page of the last night, trends over all of them."""
    templates = environment()
    assert templates.loader
    templates.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), templates.loader])
    templates.filters["said"] = said
    jobs = sorted({job for job, _ in trends})
    return templates.get_template("nightly.html").render(
        when=f"{datetime.now():%Y-%m-%d %H:%M}",
        revision=revision,
        nights=nights,
        drifts=[drift for night in nights for drift in drifts(night)],
        boards=[night.board for night in nights],
        figures=against_baselines(nights),
        trends=[(f"{job}: {what.replace('_', ' ')}", curve(trends[job, what]))
                for job in jobs for what in _DRAWN if (job, what) in trends],
    )  # fmt: skip


def said(test: str) -> str:
    """hil_tests.test_link::test_the_line_is_clean[board0] -> link: the line is clean [board0]"""
    file, _, name = test.removeprefix("hil_tests.test_").partition("::test_")
    name, _, board = name.partition("[")
    return f"{file}: {name.replace('_', ' ')}" + (f" [{board}" if board else "")


def _kept(key: str) -> figures.Figures | None:
    board, job = key.split(" ", 1)
    path = figures.BASELINES / board / f"{job}.json"
    return json.loads(path.read_text()) if path.exists() else None


def drifts(night: Night) -> Iterator[Row]:
    """What differs from the baselines, in words."""
    for key, found in night.figures.items():
        kept = _kept(key)
        if lines := figures.differences(found, kept) if kept else ["no baseline"]:
            yield {"title": key, "lines": lines}


def against_baselines(nights: list[Night]) -> list[Row]:
    """A row a figure: what each board took, and by how much that differs from what is kept."""
    rows: dict[tuple[str, str], dict[str, Row]] = {}
    for night in nights:
        for key, found in night.figures.items():
            kept = _kept(key)
            was = {what: value for _, what, value in flat({key: kept})} if kept else {}
            for job, what, value in flat({key: found}):
                change = value - was[what] if was.get(what) is not None else None
                rows.setdefault((job, what), {})[night.board] = {"value": value, "change": change}
    return [{"job": job, "what": what, "of": of} for (job, what), of in rows.items()]


def curve(boards: Mapping[str, list[Point]]) -> str:
    """One figure over the nights, a line a board; thinner ones lie on thicker ones, so that equals show."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (board, points) in enumerate(boards.items()):
            size = max(1, 3 - i)
            style = {"color": _COLOURS[i % len(_COLOURS)], "linewidth": 1.6 * size, "markersize": 3 * size}
            axes.plot(range(len(points)), [p[2] for p in points], "o-", label=board, **style)
        longest = max(boards.values(), key=len)
        every = max(1, len(longest) // 6)
        axes.set_xticks(range(0, len(longest), every), [f"{datetime.fromtimestamp(p[0]):%d %b}\n{p[1][:8]}"
                                                         for p in longest[::every]])  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.margins(x=0.08, y=0.2)
        figure.legend(loc="outside upper right", ncols=len(boards))

    return svg(draw, 5.2, 2.4)
