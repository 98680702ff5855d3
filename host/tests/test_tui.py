"""The dashboard, driven by textual's pilot: a run is on the screen; q stops it; its error is kept."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from threading import Event as Flag
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

pytest.importorskip("textual_plotext")
from mcugrad import dashboard, tui
from mcugrad.errors import UsageError
from mcugrad.tui import Curve, Dashboard, State, memory, sample, time_and_link
from mcugrad.view import View
from tests.test_view import EVENTS as RUN_EVENTS
from tests.test_view import STEP

REGION = {"name": "DTCM", "size": 65536, "parts": {"arena": 9000, "state": 4000, "none": 0}}
FULL: dict[str, Any] = {
    **STEP, "label": 2, "predicted": 7, "cpu_hz": 216_000_000, "emulated": True, "saturated": 3,
    "cycles_forward": 2_160_000, "cycles_total": 4_320_000, "bytes_sent": 2048, "bytes_received": 1024,
    "bytes_a_second": 76_800.0, "line_share": 0.83,
}  # fmt: skip
PIXELS = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28, 1)
EVENTS: list[dict[str, Any]] = [
    {"event": "start", "model": "m", "scheme": "49kb", "data": "d", "board": "b", "port": "p", "seed": 0},
    {"event": "classes", "names": [f"class-{i}" for i in range(10)]},
    {"event": "memory", "static": 1, "arena": 2, "stack": 3, "ram": 4, "regions": [REGION]},
    {"event": "eval", "step": 0, "accuracy": 0.1, "loss": 2.3, "samples": 2},
    {"event": "sample", "step": 1, "pixels": PIXELS, "label": 2},
    FULL,
]


def text_of(content: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(content)
    return out.getvalue()


def driven(work: Callable[[View], object], then: Callable[[Dashboard, Any], Any]) -> Dashboard:
    app = Dashboard(work)

    async def drive() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            await then(app, pilot)

    asyncio.run(drive())
    return app


async def until(pilot: Any, ready: Callable[[], object]) -> None:
    for _ in range(200):
        if ready():
            return
        await pilot.pause(0.05)
    raise AssertionError("it never came")


def test_a_run_is_on_the_screen() -> None:
    def work(tell: View) -> None:
        for event in EVENTS:
            tell(event)

    async def look(app: Dashboard, pilot: Any) -> None:
        await until(pilot, lambda: app.state.step and app.state.ended)
        app.show()
        await pilot.pause()
        svg = app.export_screenshot().replace("&#160;", " ")
        for word in ("class-7", "DTCM", "≈ 10.0 ms", "83%", "accuracy so far", "link ok"):
            assert word in svg, word
        await pilot.press("q")

    app = driven(work, look)
    assert app.error is None and app.state.loss.values == [1.25]


def test_q_stops_a_run_as_ctrl_c_does() -> None:
    stopped = Flag()

    def work(tell: View) -> None:
        try:
            for step in range(1, 100_000):
                tell({**FULL, "step": step, "total": 100_000})
                Flag().wait(0.005)
        except KeyboardInterrupt:
            tell({"event": "failed"})
            stopped.set()
            raise RuntimeError("saved") from None

    async def press(app: Dashboard, pilot: Any) -> None:
        await until(pilot, lambda: app.state.step)
        await pilot.press("q")
        await until(pilot, lambda: app.state.ended)

    app = driven(work, press)
    assert stopped.is_set() and str(app.error) == "saved"


def test_an_error_ends_the_screen_and_is_kept() -> None:
    def work(tell: View) -> None:
        raise ValueError("no board")

    async def wait(app: Dashboard, pilot: Any) -> None:
        await until(pilot, lambda: not app.is_running)

    assert isinstance(driven(work, wait).error, ValueError)


def test_panels_say_what_is_there() -> None:
    state = State()
    assert "no sample" in text_of(sample(state)) and "no step" in text_of(time_and_link(state))
    for event in EVENTS:
        state.take(event)
    assert "class-2" in text_of(sample(state)) and "class-7" in text_of(sample(state))
    shown = text_of(memory(state))
    assert "12.7 KB of 64.0 KB" in shown and "none" not in shown
    assert shown.count("█") == 3, "of 16"
    state.take({**FULL, "link": {"host_crc_errors": 3}, "line_share": None})
    shown = text_of(time_and_link(state))
    assert "3 host crc errors" in shown and "75.0 KB/s\n" in shown.replace(" \n", "\n").replace(" ", " ")


def test_a_long_curve_stays_small_and_whole() -> None:
    curve = Curve()
    for step in range(100_000):
        curve.add(step, step * 2)
    assert len(curve.steps) < 500 and curve.steps[0] == 0 and curve.steps[-1] > 99_000
    assert all(value == 2 * step for step, value in zip(curve.steps, curve.values, strict=True))


def test_a_terminal_is_needed_and_a_live_source_wants_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--tui needs a terminal"):
        dashboard.show(None, {}, None)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="both want the terminal"):
        dashboard.show(None, {"data": "camera:0"}, None)


def test_what_came_out_is_said_once_the_terminal_is_free(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ended(Dashboard):
        def run(self, *args: Any, **options: Any) -> None:
            self.state.take(RUN_EVENTS[-1])

    monkeypatch.setattr(tui, "Dashboard", Ended)
    tui.watch(lambda tell: None)
    assert "10.0% → 90.0% on held-out images" in capsys.readouterr().out
