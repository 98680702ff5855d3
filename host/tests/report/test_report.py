"""One run's database -> a page that loads nothing from elsewhere, and a picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mcugrad import report
from mcugrad.report.page import confused, streamed, times, travel
from mcugrad.telemetry import LINK_COLUMNS, STEP_COLUMNS, Telemetry

NODES = [
    {"op": "conv2d", "layer": "a<b>", "phase": "forward", "shape": "4x4x1 -> 4x4x2", "macs": 32},
    {"op": "conv2d_dw", "layer": "a<b>", "phase": "backward", "shape": "4x4x2 -> 2x1", "macs": 32},
    {"op": "sgd", "layer": "a<b>", "phase": "update", "shape": "2x1 -> 2x1", "macs": 0},
]
MANIFEST = {
    "input": {"bytes": 16}, "feeds": 3, "model": "toy", "hash": "ab" * 16, "nodes": NODES, "arena_bytes": 96,
    "buffers": [[["x"], 0, 16, 0, 1], [["y"], 16, 32, 0, 2], [["dw"], 48, 48, 1, 2]],
}  # fmt: skip
JOB = {
    "model": {"scheme": "full"}, "data": {"source": "digits", "seed": 0}, "train": {"epochs": 1, "lr": 0.1},
}  # fmt: skip
BOARD = {
    "id": "b",
    "name": "Board",
    "cpu_hz": 216_000_000,
    "port": "emu://b",
    "emulated": True,
    "baud": 921_600,
    "train": 9,
    "test": 4,
}
MEMORY = [{"name": "DTCM", "size": 65536, "parts": {"stack": 8192, "arena": 96, "nothing": 0}}]


def run_of(path: Path, steps: int, instructions: int | None = 500) -> Telemetry:
    log = Telemetry.create(path / "t.sqlite", job=JOB, manifest=MANIFEST, board=BOARD, memory=MEMORY)
    row: dict[str, Any] = dict.fromkeys((*STEP_COLUMNS, *LINK_COLUMNS), 1)
    for step in range(1, steps + 1):
        log.step({**row, "step": step, "loss": 2 / step, "time": log.run["started"] + step})
    if steps:
        log.evaluation(0, 0.125, 2.0, [1] * 4)
        log.evaluation(steps, 0.875, 0.5, [1] * 4)
        log.nodes({"node": i, **n, "cycles": 700, "instructions": instructions} for i, n in enumerate(NODES))
        log.end("done")
    return log


@pytest.mark.parametrize("steps", [0, 1, 50])
def test_the_page_stands_alone_at_any_length(tmp_path: Path, steps: int) -> None:
    log = run_of(tmp_path, steps)
    page, picture = report.write(log, tmp_path)
    log.close()
    text = page.read_text()
    assert not re.search(r"<(script|link|img|iframe)\b|@import|url\(", text.replace("url(#", ""))
    assert text.count("<svg") == 2
    with Image.open(picture) as image:
        assert image.size == (1300, 468)


def test_it_tells_the_run(tmp_path: Path) -> None:
    log = run_of(tmp_path, 50)
    text = report.write(log, tmp_path)[0].read_text()
    log.close()
    assert "12.5%" in text
    assert "87.5%" in text
    assert "a&lt;b&gt;" in text
    assert "stack 8,192" in text
    assert "nothing" not in text
    assert "ab" * 16 in text
    assert "instructions exact" in text
    assert "of the line rate" in text and "921,600 baud" in text
    assert "while the rest is under way" in text


def test_a_real_board_counts_cycles_only(tmp_path: Path) -> None:
    log = run_of(tmp_path, 50, instructions=None)
    text = report.write(log, tmp_path)[0].read_text()
    log.close()
    assert "per MAC" in text
    assert "instructions" not in text


def test_it_says_what_samples_travel_at() -> None:
    link = [{"sample_bytes": n, "sample_seconds": 0.5} for n in (768, 1536)]
    run = {"board": {"baud": 38400, "cpu_hz": 1000}, "manifest": {"input": {"bytes": 768}}}
    assert travel(link, run) == {"rate": 3072, "share": 0.8, "seconds": 0.25, "baud": 38400}
    steps = [{"cycles_forward": 250, "cycles_total": 500}]
    assert [(t["ms"], t["share"]) for t in times(link, steps, run)] == [(250, 1 / 3)] * 3
    assert travel([], run) is None and len(times([], steps, run)) == 2
    assert travel(link, {**run, "board": {"cpu_hz": 1}})["share"] is None  # type: ignore[index]


def test_labels_stand_against_predictions() -> None:
    evals = [{"predicted": "[0, 0, 0]"}, {"predicted": "[0, 1, 1]"}]
    board = {"test_labels": [0, 1, 0], "classes": ["cat", "dog"]}
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", confused(evals, board))
    assert sorted(texts) == sorted(["1", "1", "1", *["cat", "dog"] * 2, "predicted", "label"])
    assert not confused(evals, {"classes": ["cat", "dog"]}), "a run of before labels were kept"
    assert not confused([], board) and not confused(evals, {**board, "classes": ["c"] * 21})


def test_a_stream_is_one_cost() -> None:
    nodes = [{"node": i, "macs": 10 * (i + 1)} for i in range(4)]
    found = streamed(nodes, [{}, {"stream": 0}, {"stream": 0}, {}])
    assert [n["first"] for n in found] == [0, 1, 1, 3]
    assert [n["paid"] for n in found] == [10, 50, 30, 40]
    assert [n["first"] for n in streamed(nodes, [])] == [0, 1, 2, 3], "a run of before there were streams"


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    log = run_of(tmp_path, 20)
    first = [p.read_bytes() for p in report.write(log, tmp_path)]
    assert [p.read_bytes() for p in report.write(log, tmp_path)] == first
    log.close()
