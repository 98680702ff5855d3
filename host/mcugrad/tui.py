"""The live view that fills the terminal: curves, the sample as the board sees it, memory, time, link."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.widgets import Footer, ProgressBar, Static
from textual_plotext import PlotextPlot

from mcugrad.sources.image import Pixels
from mcugrad.sources.preview import picture
from mcugrad.view import Event, PlainView, View, kb, link

_KEPT = 400  # points of a curve; of a longer run every second one, and so on
_SECONDS = 0.4  # between two pictures: more often takes time from the run
_BAR, _PICTURE = 16, 28  # columns
_COLOURS = ("blue", "orange3", "green", "purple", "red", "cyan", "grey62")


@dataclass
class Curve:
    """Points of a run of any length in bounded room."""

    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    every: int = 1

    def add(self, step: int, value: float) -> None:
        if step % self.every == 0:
            self.steps.append(step)
            self.values.append(value)
        if len(self.steps) > _KEPT:
            self.every *= 2
            self.steps, self.values = self.steps[::2], self.values[::2]


class State:
    """What the events so far add up to."""

    def __init__(self) -> None:
        self.title, self.line, self.ended = "", "", False
        self.classes: list[str] = []
        self.loss, self.accuracy = Curve(), Curve()
        self.held_loss, self.held_accuracy = Curve(), Curve()
        self.memory: Event = {}
        self.sample: tuple[Pixels, int] | None = None
        self.step: Event = {}
        self.end: Event = {}

    def take(self, event: Event) -> None:
        """One event of a run, as views get them."""
        handler = getattr(self, f"on_{event['event']}", None)
        if handler:
            handler(event)

    def on_start(self, event: Event) -> None:
        self.title = f"{event['model']}  scheme {event['scheme']}  {event['data']}  {event['board']}"

    def on_classes(self, event: Event) -> None:
        self.classes = event["names"]

    def on_stage(self, event: Event) -> None:
        self.line = f"{event['name']}: {event['text']}"

    def on_memory(self, event: Event) -> None:
        self.memory = event

    def on_evaluating(self, event: Event) -> None:
        self.line = f"judging held-out samples: {event['done']} of {event['total']}"

    def on_eval(self, event: Event) -> None:
        self.held_loss.add(event["step"], event["loss"])
        self.held_accuracy.add(event["step"], event["accuracy"])
        self.line = f"held out: accuracy {event['accuracy']:.1%}, loss {event['loss']:.3f}"

    def on_sample(self, event: Event) -> None:
        self.sample = (event["pixels"], event["label"])

    def on_step(self, event: Event) -> None:
        self.step = event
        self.loss.add(event["step"], event["smooth_loss"])
        self.accuracy.add(event["step"], event["accuracy"])

    def on_reset(self, event: Event) -> None:
        self.line = f"the board was reset after step {event['step']}; its last state is put back"

    def on_end(self, event: Event) -> None:
        self.end = event
        self.line = f"{event['before']:.1%} → {event['after']:.1%} on held-out images; {event['report']}"

    def name(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)


class Dashboard(App[None]):
    """Runs `work` in a thread and shows what it tells; q stops it, saved, or leaves once it has ended."""

    CSS = """
    Screen { layout: vertical; }
    #title { text-style: bold; padding: 0 1; }
    #curves { height: 1fr; min-height: 10; }
    #panels { height: 18; }
    #panels > Static { width: 1fr; height: 100%; border: round $primary; padding: 0 1; }
    #line { padding: 0 1; color: $text-muted; }
    ProgressBar { padding: 0 1; } Bar { width: 1fr; }
    """
    BINDINGS: ClassVar = [("q", "leave", "stop and save, or leave")]

    def __init__(self, work: Callable[[View], object]) -> None:
        super().__init__()
        self._work, self._events = work, deque[Event]()
        self._stop = False
        self.state = State()
        self.error: BaseException | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        with Horizontal(id="curves"):
            yield PlotextPlot(id="loss")
            yield PlotextPlot(id="accuracy")
        with Horizontal(id="panels"):
            for name in ("sample", "memory", "step"):
                panel = Static(id=name)
                panel.border_title = name
                yield panel
        yield ProgressBar(id="progress", total=None)
        yield Static(id="line")
        yield Footer()

    def on_mount(self) -> None:
        self.set_interval(_SECONDS, self.show)
        self.run_worker(self._run, thread=True, exit_on_error=False)

    def tell(self, event: Event) -> None:
        """Called by the run, in its thread. Raises KeyboardInterrupt once where q was pressed."""
        self._events.append(event)
        if self._stop:
            self._stop = False
            raise KeyboardInterrupt

    def _run(self) -> None:
        try:
            self._work(self.tell)
        except BaseException as error:
            self.error = error
        self.state.ended = True

    def action_leave(self) -> None:
        if self.state.ended:
            self.exit()
        self._stop = not self.state.ended

    def show(self) -> None:
        """Bring everything up to date."""
        while self._events:
            self.state.take(self._events.popleft())
        s = self.state
        if s.ended and self.error:
            self.exit()
            return
        self._static("title", Text(s.title))
        self._static("line", Text("stopping..." if self._stop else s.line + "  (q leaves)" * s.ended))
        self._static("sample", sample(s, self.query_one("#sample", Static).content_size.width))
        self._static("memory", memory(s))
        self._static("step", time_and_link(s))
        self._plot("loss", "loss, smoothed", s.loss, s.held_loss)
        self._plot("accuracy", "accuracy so far", s.accuracy, s.held_accuracy)
        if s.step:
            self.query_one(ProgressBar).update(total=s.step["total"], progress=s.step["step"])

    def _static(self, name: str, content: RenderableType) -> None:
        self.query_one(f"#{name}", Static).update(content)

    def _plot(self, name: str, title: str, curve: Curve, held: Curve) -> None:
        widget = self.query_one(f"#{name}", PlotextPlot)
        plot: Any = widget.plt
        plot.clear_data()
        plot.title(title)
        if curve.steps:
            plot.plot(curve.steps, curve.values, marker="braille", color="blue")
        if held.steps:
            plot.scatter(held.steps, held.values, marker="hd", color="orange", label="held out")
        if name == "accuracy":
            plot.ylim(0, 1)
        widget.refresh()


def sample(s: State, columns: int = _PICTURE) -> RenderableType:
    """What the board is given, in so many columns at most, its label and what the board takes it for."""
    if s.sample is None:
        return Text("no sample yet", style="dim")
    pixels, label = s.sample
    lines = [Text.assemble("label     ", (s.name(label), "bold"))]
    if s.step and s.step["label"] == label:
        right = s.step["predicted"] == label
        lines.append(Text.assemble("predicted ", (s.name(s.step["predicted"]), "green" if right else "red")))
    return Group(picture(pixels, max(1, min(columns, _PICTURE))), *lines)


def memory(s: State) -> RenderableType:
    """A bar for each region, by part."""
    table = Table.grid(padding=(0, 1))
    for region in s.memory.get("regions", ()):
        used = sum(region["parts"].values())
        table.add_row(
            Text(region["name"], "bold"), Text(f"{kb(used)} of {kb(region['size'])}", "bold", no_wrap=True)
        )
        table.add_row(*_bar(region))
        for (name, size), colour in zip(region["parts"].items(), _COLOURS * 3, strict=False):
            if size:
                table.add_row(Text(f"■ {name}", colour), f"{size:,}")
    return table


def _bar(region: Event) -> tuple[Text, str]:
    """A region's parts side by side, to the nearest character, and the share in use."""
    bar, ends = Text(), [round(_BAR * sum_ / region["size"]) for sum_ in accumulate(region["parts"].values())]
    for begin, end, colour in zip([0, *ends], ends, _COLOURS * 3, strict=False):
        bar.append("█" * (end - begin), colour)
    bar.append("░" * (_BAR - len(bar)), "grey30")
    return bar, f"{sum(region['parts'].values()) / region['size']:.1%}"


def time_and_link(s: State) -> RenderableType:
    """Time of the last step by phase, and how the line is."""
    if not s.step:
        return Text("no step yet", style="dim")
    step, hz = s.step, s.step["cpu_hz"]
    forward, whole = (1000 * step[name] / hz for name in ("cycles_forward", "cycles_total"))
    about = "≈ " if step["emulated"] else ""  # a model's estimate
    rows = [
        ("forward", f"{about}{forward:.1f} ms"),
        ("backward, update", f"{about}{whole - forward:.1f} ms"),
        ("step seen from here", f"{1000 * step['latency_s']:.1f} ms"),
        ("stack", kb(step["stack_high"])),
        ("saturated", f"{step['saturated']:,}"),
        ("sent", kb(step["bytes_sent"])),
        ("received", kb(step["bytes_received"])),
    ]
    if step["bytes_a_second"]:
        rows.append(("samples", f"{kb(step['bytes_a_second'])}/s"))
    if step["line_share"]:
        rows.append(("share of the line", f"{step['line_share']:.0%}"))
    table = Table.grid(padding=(0, 1))
    for name, value in rows:
        table.add_row(name, Text(value, "bold"))
    return Group(table, Text.from_markup(link(step["link"])))


def watch(work: Callable[[View], object]) -> None:
    """Show a run until its end; what it raises is raised here, once the terminal is the user's again."""
    app = Dashboard(work)
    app.run()
    if app.error:
        raise app.error
    if app.state.end:
        PlainView(Console(highlight=False)).on_end(app.state.end)
