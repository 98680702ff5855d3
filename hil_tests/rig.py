"""What is under test: an image per model, and a board that runs it, emulated or plugged in."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hil_tests.cable import Cable
from mcugrad import boards, paths, pipeline
from mcugrad.build import build
from mcugrad.ir.graph import Array
from mcugrad.link.frame import Decoder
from mcugrad.link.identity import Expected
from mcugrad.link.line import Timing
from mcugrad.link.messages import Message, unpack
from mcugrad.link.ports import open_port
from mcugrad.link.session import Session

MODEL, SCHEME, CLASSES = "digits-tiny", "10kb", 10


@dataclass(frozen=True)
class Image:
    """A job compiled and built for one board."""

    board: str
    compiled: pipeline.Compiled
    elf: Path

    def expected(self, model_hash: str = "") -> Expected:
        """What the firmware must say of itself."""
        m, fit = self.compiled.manifest, self.compiled.fit
        sizes = (m["input"]["bytes"], m["state_bytes"], fit.arena, fit.statics)
        return Expected(self.board, m["model"], model_hash or m["hash"], *sizes)

    @property
    def name(self) -> str:
        """<model>-<scheme>."""
        return self.elf.parent.name

    @property
    def classes(self) -> int:
        return int(self.compiled.manifest["classes"])

    def sample(self, seed: int) -> Array:
        """Noise of the input's shape, the same for the same seed."""
        shape = self.compiled.manifest["input"]["shape"]
        return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


@cache
def image(board: str, model: str = MODEL, scheme: str = SCHEME) -> Image:
    """Compile and build into build/hil/<board>/<model>-<scheme>; once a session."""
    compiled = pipeline.compile_job(model, scheme, boards.load(board), CLASSES)
    folder = paths.BUILD / "hil" / board / f"{model}-{scheme}"
    return Image(board, compiled, build(board, pipeline.write(compiled.emitted, folder / "gen"), folder))


class Tap:
    """A port whose traffic is written down, a line a frame; `control` reaches an emulated board."""

    def __init__(self, port: Any, log: Path, cable: Cable | None) -> None:
        self._port, self._log = port, log.open("a")
        self._decoders = {">": Decoder(), "<": Decoder()}
        if cable:
            self.control = cable.control

    def note(self, text: str) -> None:
        print(f"{time.time():.4f} {text}", file=self._log, flush=True)

    def write(self, data: bytes) -> int:
        self._take(">", data)
        return int(self._port.write(data))

    def read(self, size: int) -> bytes:
        data = bytes(self._port.read(size))
        self._take("<", data)
        return data

    @property
    def in_waiting(self) -> int:
        return int(self._port.in_waiting)

    @property
    def baudrate(self) -> int:
        return int(self._port.baudrate)

    def close(self) -> None:
        self._log.close()
        self._port.close()

    def _take(self, way: str, data: bytes) -> None:
        for frame in self._decoders[way].feed(data):
            message = unpack(frame.type, frame.payload)
            self.note(f"{way} {frame.seq:5} {describe(message) if message else f'type {frame.type}'}")


def describe(message: Message) -> str:
    """One line: name, fields, and how many bytes follow them."""
    fields = " ".join(
        f"{k}={v.hex() if isinstance(v, bytes) else format(v, 'g') if isinstance(v, float) else v}"
        for k, v in message.fields.items()
    )
    return f"{message.name} {fields}" + (f" +{len(message.tail)} bytes" if message.tail else "")


@dataclass
class Bench:
    """One board: its id, the port that it is at, and where its log goes. `cable`: of an emulated one."""

    board: str
    port: str
    log: Path
    cable: Cable | None = None
    timing: Timing = field(default_factory=Timing)

    @property
    def baud(self) -> int:
        return boards.load(self.board).baud

    def open(self) -> Any:
        """The bare port; NoBoardError says why not."""
        return open_port(self.port, self.baud)

    def close(self) -> None:
        """End the emulated board."""
        if self.cable:
            self.cable.close()

    def tap(self, port: Any) -> Tap:
        return Tap(port, self.log, self.cable)

    def connect(self, image: Image, model_hash: str = "", port: Any = None) -> Session:
        """A session with the board, over `port` where one is open already."""
        opened = self.tap(port or self.open())
        try:
            return Session(
                opened,
                self.port,
                image.expected(model_hash),
                image.elf,
                self.timing,
                lambda: self.tap(self.open()),
            )
        except BaseException:
            opened.close()
            raise


def emulate(image: Image, folder: Path, name: str) -> Bench:
    """An emulated board that runs the image, at a pty."""
    return emulate_elf(image.board, image.elf, folder, name)


def emulate_elf(board: str, elf: Path, folder: Path, name: str) -> Bench:
    # Enough for an emulated board, and the tests that lose an answer end sooner.
    timing = Timing(answer=1.0, first_step=6.0)
    cable = Cable(board, elf, boards.load(board).baud, folder / f"tty-{name}")
    return Bench(board, str(cable.path), folder / f"{name}.log", cable, timing)
