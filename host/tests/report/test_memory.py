"""The memory page: a tooltip for every buffer, nothing loaded from elsewhere, the same bytes each time."""

from __future__ import annotations

import re

from mcugrad import boards
from mcugrad.pipeline import uncalibrated
from mcugrad.plan.fit import lay
from mcugrad.plan.memory import plan
from mcugrad.plan.peak import why
from mcugrad.report.memory import page
from tests.networks import small


def test_the_page_shows_every_buffer_and_why_the_peak_is_there() -> None:
    graph = uncalibrated(small(), "5 3:1/2 4:1/3 6:1 9:1/4")
    placed, board = plan(graph), boards.load("nucleo_f746zg")
    text = page(graph, placed, lay(graph, placed, board), "mine", board.name)
    titles = re.findall(r'<g id="buffer-\d+"><title>([^<]*)</title>', text)
    assert len(titles) == len(placed.buffers)
    assert all(" = ".join(b.values) in title for b, title in zip(placed.buffers, titles, strict=True))
    assert all(held.name in text and held.kind in text for held in why(graph, placed))
    assert f"{placed.arena_bytes / 1024:.1f} KB" in text
    assert not re.search(r'(src|href)="(https?:|//|[^"#])', re.sub(r'xlink:href="#', "", text))
    assert text == page(graph, placed, lay(graph, placed, board), "mine", board.name)
