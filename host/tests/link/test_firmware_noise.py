"""The true firmware on the emulated board behind a line that damages every twentieth block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mcugrad import boards, build, config, pipeline, prepare
from mcugrad.codegen.c import write
from mcugrad.link.line import Timing
from mcugrad.link.ports import emulated, open_port
from mcugrad.link.session import Session
from mcugrad.sources import open_source
from tests.link.noise import Noise

pytest.importorskip("unicorn")
pytest.importorskip("sklearn")
TIMING = Timing(answer=0.1, hello=0.1, tries=60, first_step=1.0, shortest_step=0.3)


class NoisyPort:
    """A port whose bytes pass through noise both ways, in the blocks that they are written and read in."""

    def __init__(self, port: Any, noise: Noise) -> None:
        self._port, self._noise, self._left = port, noise, b""

    def write(self, data: bytes) -> int:
        self._port.write(self._noise(data))
        return len(data)

    def read(self, size: int) -> bytes:
        if not self._left:
            self._left = self._noise(self._port.read(max(size, self._port.in_waiting)))
        data, self._left = self._left[:size], self._left[size:]
        return data

    @property
    def in_waiting(self) -> int:
        return len(self._left) or self._port.in_waiting

    def close(self) -> None:
        self._port.close()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> prepare.Prepared:
    out = tmp_path_factory.mktemp("image")
    board, job = boards.load("nucleo_f746zg"), config.Job()
    compiled = pipeline.compile_job(job.model.name, job.model.scheme, board, 10)
    elf = build.build(board.id, write(compiled.emitted, out / "gen"), out)
    height, width, channels = compiled.manifest["input"]["shape"]
    split = open_source(job.data.source).split((height, width, channels))
    return prepare.Prepared(job, board, compiled, elf, split)


def trained(ready: prepare.Prepared, noise: Noise) -> Iterator[Any]:
    """The results of 30 steps and 5 evaluations, then the state that they leave."""
    port = NoisyPort(open_port(emulated(ready.board.id, ready.elf), ready.board.baud), noise)
    session = Session(port, "noisy", ready.expected, ready.elf, TIMING)
    for i in range(30):
        x, label = ready.split.train[i]
        result = session.train(i + 1, x.tobytes(), label, 0.01)
        yield result["loss"], result["predicted"], result["applied"]
    for i in range(5):
        x, label = ready.split.test[i]
        yield session.evaluate(x.tobytes(), label)["loss"]
    yield session.read_state()
    session.close()


@pytest.fixture(scope="module")
def clean(ready: prepare.Prepared) -> list[Any]:
    return list(trained(ready, Noise()))


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_changes_no_bit(ready: prepare.Prepared, clean: list[Any], seed: int) -> None:
    noise = Noise(0.05, seed)
    assert list(trained(ready, noise)) == clean
    assert noise.hits > 10
