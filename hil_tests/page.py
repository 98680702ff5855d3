"""A night as one page without anything loaded from elsewhere: tests, figures against baselines, trends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, FileSystemLoader
from matplotlib.figure import Figure

from hil_tests import figures
from hil_tests.history import Point, flat
from mcugrad.report.curves import BLUE, ORANGE, svg
from mcugrad.report.page import environment

if TYPE_CHECKING:
    from hil_tests.nightly import Night

Row = dict[str, Any]
_COLOURS = (BLUE, ORANGE, "#3f9e6b", "#8a5bd1")
_DRAWN = ("instructions", "cycles", "arena_bytes", "flash_bytes")


def render(revision: str, nights: list[Night], trends: Mapping[tuple[str, str], Any]) -> str:
    """The page of the last night, trends over all of them."""
    templates = environment()
    assert templates.loader
    templates.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), templates.loader])
    return templates.get_template("nightly.html").render(
        when=f"{datetime.now():%Y-%m-%d %H:%M}",
        revision=revision,
        nights=nights,
        figures=[row for night in nights for row in against_baseline(night)],
        trends=[(f"{job}: {what.replace('_', ' ')}", curve(boards)) for (job, what), boards in trends.items()
                if what in _DRAWN],
        rows=[(job, what, board, points) for (job, what), boards in trends.items()
              for board, points in boards.items()],
    )  # fmt: skip


def against_baseline(night: Night) -> list[Row]:
    """Each figure of a night beside the stored one."""
    rows = []
    for key, found in night.figures.items():
        board, job = key.split(" ", 1)
        path = figures.BASELINES / board / f"{job}.json"
        kept = json.loads(path.read_text()) if path.exists() else None
        was = {what: value for _, what, value in flat({key: kept})} if kept else {}
        lines = figures.differences(found, kept) if kept else ["no baseline"]
        for _, what, value in flat({key: found}):
            rows.append({"board": board, "job": job, "what": what, "value": value, "was": was.get(what)})
        rows.append({"board": board, "job": job, "drift": lines})
    return rows


def curve(boards: Mapping[str, list[Point]]) -> str:
    """One figure over the nights, a line a board."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for colour, (board, points) in zip(_COLOURS, boards.items(), strict=False):
            axes.plot(
                range(len(points)), [p[2] for p in points], "o-", color=colour, label=board, markersize=4
            )
        longest = max(boards.values(), key=len)
        every = max(1, len(longest) // 8)
        axes.set_xticks(range(0, len(longest), every), [f"{datetime.fromtimestamp(p[0]):%d %b}\n{p[1][:8]}"
                                                         for p in longest[::every]])  # fmt: skip
        axes.ticklabel_format(axis="y", style="plain", useOffset=False)
        axes.legend()

    return svg(draw, 5.2, 2.4)
