"""A live feed -> labelled samples: it is shown in the terminal, and a key says what it shows."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from mcugrad.config import CaptureSection
from mcugrad.errors import UsageError, UserError
from mcugrad.sources.folder import HELD_OUT
from mcugrad.sources.image import Pixels, Shape
from mcugrad.sources.preview import picture
from mcugrad.sources.source import Samples, Split, checked

QUIT = "q"
Pressed = Callable[[], str]  # the key pressed since the last call, or ""


@dataclass(frozen=True)
class Shown:
    """What a feed shows now: pixels of the model's size; its label where the feed itself knows it."""

    pixels: Pixels
    label: str | None = None


class Feed(Protocol):
    """Opened by a live source. `read` waits for the next sample; None where the feed has ended."""

    def read(self) -> Shown | None: ...


class LiveSource:
    """Samples as they come; `open_feed` gives the feed at the model's size."""

    live = True

    def __init__(
        self,
        name: str,
        plan: CaptureSection,
        open_feed: Callable[[Shape], contextlib.AbstractContextManager[Feed]],
    ) -> None:
        self.name, self.classes, self._plan, self._open = name, plan.classes, plan, open_feed
        if len(plan.classes) < 2:
            fix = 'name them in the job file: [capture] classes = ["mug", "pen"]'
            raise UsageError("a live source needs the names of its classes", "[capture] classes", fix)

    def split(self, shape: Shape) -> Split:
        """Capture; every fifth sample of a class is held out."""
        with self._open(shape) as feed, keyboard() as pressed:
            taken = capture(feed, self._plan, pressed, Console(stderr=True))
        parts = _parted(taken, shape, len(self.classes))
        return checked(Split(*parts, self.classes), f"{self.name}: {len(taken)} samples taken")


def capture(feed: Feed, plan: CaptureSection, pressed: Pressed, console: Console) -> list[tuple[Pixels, int]]:
    """Take what a key, 1, 2..., or the feed itself labels, until there are plan.count; q or the end stops."""
    taken: list[tuple[Pixels, int]] = []
    with Live(console=console, transient=True, auto_refresh=False) as view:
        while len(taken) < plan.count and (shown := feed.read()) is not None:
            key = pressed()
            if key == QUIT:
                break
            label = _label(shown, key, plan)
            if label is not None:
                taken.append((shown.pixels, label))
            view.update(_screen(shown, taken, plan), refresh=True)
    return taken


def _label(shown: Shown, key: str, plan: CaptureSection) -> int | None:
    if shown.label is not None:
        if shown.label not in plan.classes:
            fix = f"add it to classes = [{', '.join(plan.classes)}]"
            raise UserError(f"the stream has the label '{shown.label}'", "[capture] classes", fix)
        return plan.classes.index(shown.label)
    number = int(key) if key.isdecimal() else 0
    return number - 1 if 1 <= number <= len(plan.classes) else None


def _screen(shown: Shown, taken: list[tuple[Pixels, int]], plan: CaptureSection) -> Group:
    counts = np.bincount([label for _, label in taken], minlength=len(plan.classes))
    keys = "   ".join(
        f"{i} {name} ({n})" for i, (name, n) in enumerate(zip(plan.classes, counts, strict=True), 1)
    )
    return Group(picture(shown.pixels), Text(f"{len(taken)}/{plan.count}   {keys}   {QUIT} ends"))


def _parted(taken: list[tuple[Pixels, int]], shape: Shape, classes: int) -> tuple[Samples, Samples]:
    labels = np.array([label for _, label in taken], np.int64)
    pixels = np.array([x for x, _ in taken], np.uint8).reshape(-1, *shape)
    held = np.zeros(len(taken), bool)
    for label in range(classes):
        held[np.flatnonzero(labels == label)[HELD_OUT - 1 :: HELD_OUT]] = True
    return Samples(pixels[~held], labels[~held]), Samples(pixels[held], labels[held])


@contextlib.contextmanager
def keyboard() -> Iterator[Pressed]:
    """Keys of the terminal, without Enter; where there is none, no key is ever pressed."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield lambda: sys.stdin.read(1) if select.select([sys.stdin], [], [], 0)[0] else ""
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def need_keys(where: str) -> None:
    """UsageError where samples are labelled by key and there is no keyboard."""
    if not sys.stdin.isatty():
        fix = "run it in a terminal; later runs take --data replay:runs/<folder>"
        raise UsageError("labels are given by key, and standard input is no terminal", where, fix)
