"""gdb-multiarch on the true firmware: breaks, prints, steps; the training under it keeps its bits."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from mcugrad import boards
from mcugrad.build import build
from mcugrad.codegen.c import write
from mcugrad.link.identity import Expected
from mcugrad.link.line import Timing
from mcugrad.link.ports import emulated, open_port
from mcugrad.link.session import Session
from mcugrad.pipeline import Compiled, compile_model
from tests.networks import sample, small

BOARD, STEPS = "nucleo_f746zg", 6
SCRIPT = """
set pagination off
break mg_step
continue
backtrace
print lr
print mg_model_name
info registers xpsr d0
next
finish
ignore 1 4
continue
next
next
stepi 500
delete
detach
"""
Image = tuple[Compiled, Path]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    pytest.importorskip("unicorn")
    folder, board = tmp_path_factory.mktemp("debug"), boards.load(BOARD)
    compiled = compile_model(small(), "last-3", board)
    return compiled, build(BOARD, write(compiled.emitted, folder / "gen"), folder / "out")


def connect(image: Image, gdb: str = "") -> tuple[Session, str]:
    """A session, and the address of its board's GDB server."""
    compiled, elf = image
    expected = Expected.of(BOARD, compiled.manifest, compiled.fit.statics)
    port = open_port(emulated(BOARD, elf) + gdb, boards.load(BOARD).baud)
    return Session(port, BOARD, expected, elf), port.gdb


def train(session: Session, compiled: Compiled) -> tuple[list[float], list[int], bytes]:
    """Losses, instructions of each node in the last step, trained state."""
    x = [sample(compiled.forward, i).tobytes() for i in range(STEPS)]
    losses = [session.train(i + 1, x[i], i % 3, 0.01)["loss"] for i in range(STEPS)]
    marks = [m[0] for m in session.emulated_marks() or ()]
    return losses, [after - before for before, after in pairwise(marks)], session.read_state()


def start_gdb(address: str, elf: Path, told: Path) -> subprocess.Popen[bytes]:
    """gdb with SCRIPT, once it has set its breakpoint."""
    script = told.with_suffix(".gdb")
    script.write_text(f"target remote {address}\n{SCRIPT}")
    with told.open("w") as output:
        command = ["gdb-multiarch", "--batch", "-nx", "-x", str(script), str(elf)]
        gdb = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    end = time.monotonic() + 30
    while "Breakpoint 1 at" not in told.read_text():
        assert gdb.poll() is None and time.monotonic() < end, told.read_text()
        time.sleep(0.05)
    return gdb


def test_the_host_waits_for_a_halted_board(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its tries together last a second here, the halt three."""
    session, address = connect(image, "&gdb=0")
    monkeypatch.setattr(session._line, "timing", Timing(answer=0.1, hello=0.1, tries=5, first_step=0.1))
    host, port = address.split(":")
    debugger = socket.create_connection((host, int(port)))
    threading.Timer(3.0, debugger.close).start()
    began = time.monotonic()
    train(session, image[0])
    assert time.monotonic() - began > 2.5
    session.close()


@pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="apt install gdb-multiarch")
def test_training_under_gdb_keeps_its_bits(image: Image, tmp_path: Path) -> None:
    session, _ = connect(image)
    expected = train(session, image[0])
    session.close()
    session, address = connect(image, "&gdb=0")
    told = tmp_path / "told"
    gdb = start_gdb(address, image[1], told)
    assert train(session, image[0]) == expected
    assert gdb.wait(30) == 0, told.read_text()
    session.close()
    words = told.read_text()
    assert words.count("Breakpoint 1, mg_step") == 2, words
    for shown in (
        "$1 = 0.00999999978",
        '"random"',
        "#1 ",
        "xpsr",
        "@entry=2",
        "train_step (",
        "detached",
    ):
        assert shown in words, words
