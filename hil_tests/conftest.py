"""The board under test: `pytest hil_tests --port /dev/ttyACM0 --board <id>`; else its emulated twin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcugrad import boards, paths, pipeline
from mcugrad.build import build
from mcugrad.link.identity import Expected
from mcugrad.link.ports import emulated
from mcugrad.link.session import Session

MODEL, SCHEME, CLASSES = "digits-tiny", "10kb", 10


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mcugrad")
    group.addoption("--port", default=None, help="serial port of a board that runs the default job's image")
    group.addoption("--board", default="nucleo_f746zg", help="a board id of boards/")


@dataclass(frozen=True)
class Bench:
    """The image under test and where it runs."""

    board: str
    compiled: pipeline.Compiled
    elf: Path
    port: str

    def connect(self, model_hash: str = "") -> Session:
        m, fit = self.compiled.manifest, self.compiled.fit
        sizes = (m["input"]["bytes"], m["state_bytes"], fit.arena, fit.statics)
        expected = Expected(self.board, m["model"], model_hash or m["hash"], *sizes)
        return Session.connect(self.port, boards.load(self.board).baud, expected, self.elf)


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Bench:
    """The default model, compiled and built for the board; a real board must have been flashed with it."""
    board, port = pytestconfig.getoption("--board"), pytestconfig.getoption("--port")
    compiled = pipeline.compile_job(MODEL, SCHEME, boards.load(board), CLASSES)
    folder = paths.BUILD / "hil" / board
    elf = build(board, pipeline.write(compiled.emitted, folder / "gen"), folder)
    return Bench(board, compiled, elf, port or emulated(board, elf))


@pytest.fixture
def session(bench: Bench) -> Iterator[Session]:
    """A board fresh from reset."""
    board = bench.connect()
    board.reset()
    yield board
    board.close()
