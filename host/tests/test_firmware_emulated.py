"""The image on the emulated boards: a healthy step, what a crash sends, and that only RESET ends that."""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcugrad import boards, build
from mcugrad.link.frame import Decoder, encode
from mcugrad.link.messages import MODES, Message, pack, unpack
from mcugrad.link.ports import emulated, open_port

pytest.importorskip("unicorn")

STANDIN = Path(__file__).parent / "firmware/standin"
BOARD = boards.load("nucleo_f746zg")
SAMPLE = bytes(3072)

# A model whose labels crash in four ways.
CRASHES = """
__attribute__((noinline)) static int deep(volatile int n) {
    volatile int frame[256];
    frame[n & 255] = n;
    return n ? deep(n - 1) + frame[n & 255] : 0;
}

void mg_forward(uint32_t label, mg_result *result) {
    if (label == 1)
        *(volatile uint32_t *)0x20050000 = 1;
    if (label == 2)
        __asm volatile("udf #0");
    if (label == 3)
        result->predicted = deep(100);
    if (label == 4)
        ((void (*)(void))0x60000001)();
    forward(label, result);
}
"""


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crash")
    gen = Path(shutil.copytree(STANDIN, folder / "gen"))
    source = (gen / "model.c").read_text()
    start = source.index("void mg_forward")
    end = source.index("void mg_step")
    (gen / "model.c").write_text(source[:start] + CRASHES + source[end:])
    return build.build(BOARD.id, gen, folder / "out")


class Host:
    def __init__(self, elf: Path, board: str = BOARD.id) -> None:
        self.port = open_port(emulated(board, elf), BOARD.baud)
        self.decoder = Decoder()

    def send(self, name: str, tail: bytes = b"", **fields: Any) -> None:
        type_, payload = pack(Message(name, fields, tail))
        self.port.write(encode(type_, 7, payload))

    def receive(self, seconds: float = 20.0) -> Message:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for frame in self.decoder.feed(self.port.read(300)):
                message = unpack(frame.type, frame.payload)
                assert message is not None
                return message
        raise AssertionError("no answer")

    def ask(self, name: str, tail: bytes = b"", **fields: Any) -> Message:
        self.send(name, tail, **fields)
        return self.receive()

    def run(self, label: int) -> Message:
        for at in range(0, len(SAMPLE), 200):
            self.ask("data", SAMPLE[at : at + 200], step=1, offset=at)
        return self.ask("train", step=1, label=label, mode=MODES["eval"], lr=0.0, crc=zlib.crc32(SAMPLE))


@pytest.fixture
def host(elf: Path) -> Iterator[Host]:
    host = Host(elf)
    yield host
    host.port.close()


PRECISE, BFARVALID, UNDEFINED, FETCH = 1 << 9, 1 << 15, 1 << 16, 1 << 8 | 1


@pytest.mark.parametrize("board", boards.known())
def test_a_healthy_step(board: str, tmp_path: Path) -> None:
    host = Host(build.build(board, STANDIN, tmp_path), board)
    hello, result = host.ask("hello"), host.run(0)
    counted = host.port.control({"cmd": "marks"})
    faults = host.port.control({"cmd": "faults"})
    host.port.close()
    assert (hello["board"], hello["cpu_hz"]) == (board, boards.load(board).cpu_hz)
    assert (result.name, result["loss"], result["boot_id"]) == ("result", 1.0, hello["boot_id"])
    assert 0 < result["stack_high"] < 1000
    assert (result["crc_errors"], result["overruns"]) == (0, 0)
    # The start mark, and one for each of the two nodes: nothing else reads the cycle counter.
    assert counted["total"] == 3
    assert (faults["faults"], faults["reports"]) == ([], [])


def test_a_stray_write_names_address_and_place(host: Host, elf: Path) -> None:
    fault = host.run(1)
    assert fault.name == "fault"
    assert fault["cfsr"] & (PRECISE | BFARVALID)
    assert fault["bfar"] == 0x20050000
    assert BOARD.flash.origin < fault["pc"] < BOARD.flash.origin + 0x4000


def test_an_undefined_instruction(host: Host) -> None:
    assert host.run(2)["cfsr"] & UNDEFINED


def test_a_stack_overflow_is_reported_from_a_fresh_stack(host: Host) -> None:
    fault = host.run(3)
    assert fault.name == "fault"
    assert fault["sp"] < BOARD.ram[0].origin + 32 * 4


def test_a_wild_jump(host: Host) -> None:
    assert host.run(4)["cfsr"] & FETCH


def test_the_report_repeats_and_only_reset_ends_it(host: Host) -> None:
    before = host.ask("hello")
    first = host.run(1)
    host.send("hello")
    assert host.receive().fields == first.fields
    host.send("reset")
    while (answer := host.receive()).name == "fault":
        pass
    assert answer.name == "ack"
    after = host.ask("hello")
    assert after["boot_id"] != before["boot_id"]
    assert after["reset_cause"] & 8
    assert host.run(0).name == "result"
