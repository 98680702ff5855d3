"""A run's events -> what the user sees: a live bar, plain lines when piped, or JSON, one object a line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Event = dict[str, Any]
View = Callable[[Event], None]

_SILENT_IN_JSON = {"evaluating", "sample"}
_PLAIN_SECONDS = 5.0
_WIDE = 116  # columns that the live line needs


def view(as_json: bool) -> View:
    """The view for standard output: JSON if asked for, a live one on a terminal, else plain lines."""
    if as_json:
        return json_line
    console = Console(highlight=False)
    return LiveView(console) if console.is_terminal else PlainView(console)


def json_line(event: Event) -> None:
    """One object a line; events start, stage, eval, step, checkpoint, reset, unplugged, end."""
    if event["event"] not in _SILENT_IN_JSON:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


class PlainView:
    """Words without colour or cursor: the first and last step, and one every few seconds between."""

    def __init__(self, console: Console) -> None:
        self.console, self._told = console, 0.0

    def __call__(self, event: Event) -> None:
        handler = getattr(self, f"on_{event['event']}", None)
        if handler:
            handler(event)

    def line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def on_start(self, event: Event) -> None:
        about = f"scheme {event['scheme']}, {event['data']}, {event['board']}"
        self.line(f"[bold]{escape(event['model'])}[/] [dim]{escape(about)}[/]")

    def on_stage(self, event: Event) -> None:
        self.line(f"  [green]✓[/] {event['name']:<10} {escape(event['text'])}")

    def on_memory(self, event: Event) -> None:
        parts = f"{kb(event['static'])} static + {kb(event['arena'])} arena"
        total = f"{kb(event['static'] + event['arena'])} of {kb(event['ram'])}"
        self.line(f"  [green]✓[/] memory     peak SRAM {total} ({parts}), stack up to {kb(event['stack'])}")

    def on_eval(self, event: Event) -> None:
        numbers = f"accuracy [bold]{event['accuracy']:.1%}[/], loss {event['loss']:.3f}"
        self.line(f"  held out   {numbers} [dim]({event['samples']} images, after step {event['step']})[/]")

    def on_step(self, event: Event) -> None:
        now = time.monotonic()
        if event["step"] in (1, event["total"]) or now - self._told > _PLAIN_SECONDS:
            self._told = now
            self.line(f"  step {event['step']}/{event['total']}  {describe(event)}")

    def on_reset(self, event: Event) -> None:
        self.line(
            f"  [yellow]![/] the board was reset after step {event['step']}; its last state is put back"
        )

    def on_replayed(self, event: Event) -> None:
        weights = f" and the {event['state_bytes']:,} bytes of trained state" if event["state_bytes"] else ""
        self.line(f"replayed {escape(event['of'])}: {event['steps']} steps{weights} are equal, bit for bit")

    def on_unplugged(self, event: Event) -> None:
        self.line(
            f"  [yellow]![/] the port is gone after step {event['step']}; plug it in and training goes on"
        )

    def on_end(self, event: Event) -> None:
        self.line(f"[bold]{event['before']:.1%} → [green]{event['after']:.1%}[/][/] on held-out images")
        for name in ("report", "picture", "telemetry", "weights"):
            self.line(f"  {name:<10} {escape(event[name])}")


class LiveView(PlainView):
    """The same with a progress bar while the board works."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._kind = ""

    def on_step(self, event: Event) -> None:
        text = describe(event, wide=self.console.width >= _WIDE)
        self._advance("training", event["step"], event["total"], text)

    def on_evaluating(self, event: Event) -> None:
        self._advance("held out", event["done"], event["total"], "")

    def on_eval(self, event: Event) -> None:
        self._stop()
        super().on_eval(event)

    def on_end(self, event: Event) -> None:
        self._stop()
        super().on_end(event)

    def on_failed(self, event: Event) -> None:
        self._stop()

    def _advance(self, kind: str, done: int, total: int, text: str) -> None:
        if kind != self._kind:
            self._start(kind, total)
        assert self._bar
        self._bar.update(self._task, completed=done, text=text)

    def _start(self, kind: str, total: int) -> None:
        self._stop()
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(24 if self.console.width >= _WIDE else 8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bar = Progress(
            *columns, TimeRemainingColumn(compact=True), console=self.console, transient=kind != "training"
        )
        self._bar.start()
        self._task, self._kind = self._bar.add_task(kind, total=total, text=""), kind

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
        self._bar, self._kind = None, ""


def describe(step: Event, wide: bool = True) -> str:
    """Loss, accuracy, latency, memory and link of one step, in a line; the first three where it is narrow."""
    learning = f"loss [bold]{step['smooth_loss']:.3f}[/]  acc [bold]{step['accuracy']:.1%}[/]"
    cost = f"{1000 * step['latency_s']:.0f} ms"
    if not wide:
        return f"{learning}  [dim]{cost}[/]"
    memory = f"SRAM {kb(step['peak_sram'])} + stack {kb(step['stack_high'])}"
    return f"{learning}  [dim]{cost}  {memory}[/]  {link(step['link'])}"


def link(counters: dict[str, int]) -> str:
    """Link health: ok, or what has been counted."""
    bad = {name: n for name, n in counters.items() if n}
    if not bad:
        return "[green]link ok[/]"
    return "[yellow]" + ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in bad.items()) + "[/]"


def kb(count: int) -> str:
    return f"{count / 1024:.1f} KB"
