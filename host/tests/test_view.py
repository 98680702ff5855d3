"""What the user sees of a run: JSON and nothing else, plain lines when piped, a bar on a terminal."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from mcugrad.view import LiveView, PlainView, json_line, link

STEP: dict[str, Any] = {
    "event": "step", "step": 1, "total": 2, "smooth_loss": 1.25, "accuracy": 0.5, "latency_s": 0.012,
    "peak_sram": 10240, "stack_high": 512, "link": {"host_crc_errors": 0, "retries": 0},
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"event": "start", "model": "m[1]", "scheme": "49kb", "data": "d", "board": "b", "port": "p", "seed": 0},
    {"event": "stage", "name": "compile", "text": "done [x]", "seconds": 1.0},
    {"event": "memory", "static": 1024, "arena": 2048, "stack": 512, "ram": 4096},
    {"event": "evaluating", "done": 1, "total": 2},
    {"event": "eval", "step": 0, "accuracy": 0.1, "loss": 2.3, "samples": 2},
    STEP,
    {"event": "reset", "step": 1},
    {"event": "checkpoint", "step": 1},
    {**STEP, "step": 2, "link": {"host_crc_errors": 3, "retries": 0}},
    {"event": "end", "before": 0.1, "after": 0.9, "run": "r", "report": "r/a.html", "picture": "r/a.png",
     "telemetry": "r/t", "weights": "r/w"},
]  # fmt: skip


def text_of(kind: type[PlainView], width: int, terminal: bool, **options: Any) -> str:
    out = io.StringIO()
    show = kind(Console(file=out, width=width, force_terminal=terminal, highlight=False, **options))
    for event in EVENTS:
        show(event)
    return out.getvalue()


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for event in EVENTS:
        json_line(event)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [e for e in EVENTS if e["event"] != "evaluating"]


def test_plain_lines_carry_no_escape_codes() -> None:
    text = text_of(PlainView, 80, terminal=False)
    assert "\x1b" not in text
    assert "held out   accuracy 10.0%, loss 2.300" in text
    assert "peak SRAM 3.0 KB of 4.0 KB (1.0 KB static + 2.0 KB arena)" in text
    assert "step 1/2  loss 1.250  acc 50.0%  12 ms  SRAM 10.0 KB + stack 0.5 KB  link ok" in text
    assert "3 host crc errors" in text
    assert "10.0% → 90.0%" in text
    assert all(path in text for path in ("r/a.html", "r/a.png", "r/t", "r/w"))
    assert "m[1]" in text
    assert "done [x]" in text


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_live_bar_fits_any_width(width: int) -> None:
    text = text_of(LiveView, width, terminal=True)
    assert "training" in text
    assert "90.0%" in text


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in text_of(LiveView, 140, terminal=True)


def test_a_failed_run_leaves_the_terminal_clean() -> None:
    out = io.StringIO()
    show = LiveView(Console(file=out, width=140, force_terminal=True))
    show(STEP)
    show({"event": "failed"})
    assert out.getvalue().endswith("\x1b[?25h")


def test_link_health_names_what_was_counted() -> None:
    assert "ok" in link({"retries": 0})
    assert "2 retries" in link({"retries": 2, "overruns": 0})
