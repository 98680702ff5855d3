"""The firmware's main, link, state and step loop as a program of the host, under ASan: what it answers."""

from __future__ import annotations

import random
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcugrad.link.frame import Decoder, encode
from mcugrad.link.messages import ERRORS, MAX_PAYLOAD, MODES, SHAPES, Message, header_text, pack, unpack
from mcugrad.paths import FIRMWARE

HERE = Path(__file__).parent / "firmware"
INPUT, CLASSES, STATE = 3072, 10, 48
SAMPLE = bytes([1, 0, 2] * 1024)
PIECE = MAX_PAYLOAD - SHAPES["data"].struct.size
SUM = sum(SAMPLE)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    (folder / "messages.h").write_text(header_text())
    flags = [
        "-std=gnu11",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover",
    ]
    defines = ["-DMG_HOST", "-DMG_BOARD=fake", "-DMG_CPU_HZ=1000000u", "-DMG_BAUD=1000u"]
    own = [FIRMWARE / f"{name}.c" for name in ("main", "train", "state", "cycles", "link", "frame")]
    includes = [f"-I{path}" for path in (FIRMWARE, HERE / "standin", folder)]
    files = [*map(str, own), str(HERE / "fake_board.c"), str(HERE / "standin/model.c")]
    subprocess.run(["gcc", *flags, *defines, *includes, *files, "-o", str(folder / "board")], check=True)
    return folder / "board"


class Host:
    """Asks one question at a time over the program's pipes."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.decoder = Decoder()
        self.seq = 0

    def send(self, wire: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(wire)

    def receive(self) -> Message:
        assert self.process.stdout is not None
        while data := self.process.stdout.read(4096):
            for frame in self.decoder.feed(data):
                assert frame.seq == self.seq
                message = unpack(frame.type, frame.payload)
                assert message is not None
                return message
        raise AssertionError("the board ended")

    def ask(self, name: str, tail: bytes = b"", **fields: Any) -> Message:
        self.seq = (self.seq + 1) & 0xFFFF
        type_, payload = pack(Message(name, fields, tail))
        self.send(encode(type_, self.seq, payload))
        return self.receive()

    def push(self, step: int, sample: bytes = SAMPLE) -> None:
        for at in range(0, len(sample), PIECE):
            piece = sample[at : at + PIECE]
            assert self.ask("data", piece, step=step, offset=at)["received"] == at + len(piece)

    def train(
        self, step: int, label: int = 0, mode: str = "train", lr: float = 0.5, crc: int | None = None
    ) -> Message:
        crc = zlib.crc32(SAMPLE) if crc is None else crc
        return self.ask("train", step=step, label=label, mode=MODES[mode], lr=lr, crc=crc)

    def state(self) -> bytes:
        return self.ask("read", object=0, offset=0, length=MAX_PAYLOAD).tail


@pytest.fixture
def host(program: Path) -> Iterator[Host]:
    host = Host(program)
    yield host
    assert host.process.stdin is not None
    assert host.process.stdout is not None
    host.process.stdin.close()
    assert host.process.wait(10) in (0, 42)
    host.process.stdout.close()


def refused(answer: Message, code: str) -> Message:
    assert answer.name == "error"
    assert answer["code"] == ERRORS[code]
    return answer


def test_welcome_says_who_it_is(host: Host) -> None:
    hello = host.ask("hello")
    assert hello.name == "welcome"
    assert (hello["board"], hello["model_name"], hello["input_bytes"]) == ("fake", "stand-in", INPUT)
    assert (hello["classes"], hello["state_bytes"], hello["nodes"]) == (CLASSES, STATE, 4)
    assert hello["model_hash"] == bytes(range(1, 17))
    assert hello["weights_crc"] == zlib.crc32(host.state())
    assert (hello["applied"], hello["dirty"]) == (0, 0)


def test_a_step_is_applied_once_however_often_it_is_asked_for(host: Host) -> None:
    host.push(1)
    first = host.train(1, label=2)
    state = host.state()
    assert (first.name, first["loss"], first["applied"], first["predicted"]) == (
        "result",
        SUM + 3,
        1,
        SUM % CLASSES,
    )
    assert host.train(1, label=2).fields == first.fields
    assert host.state() == state
    host.push(2)
    assert host.train(2, label=2)["loss"] == SUM + 3 - 50


def test_eval_changes_nothing_and_repeats(host: Host) -> None:
    before = host.state()
    host.push(7)
    first = host.train(7, label=1, mode="eval")
    assert (first["loss"], first["applied"], first["mode"]) == (SUM + 2, 0, MODES["eval"])
    assert host.train(7, label=1, mode="eval").fields == first.fields
    assert host.state() == before
    refused(host.train(7, label=2, mode="eval"), "bad_size")


def test_eval_and_train_may_share_a_number(host: Host) -> None:
    host.push(1)
    host.train(1, mode="eval")
    host.push(1)
    assert host.train(1)["applied"] == 1


def test_data_is_taken_only_where_it_is_due(host: Host) -> None:
    assert host.ask("data", SAMPLE[:100], step=1, offset=0)["received"] == 100
    assert host.ask("data", SAMPLE[:100], step=1, offset=0)["received"] == 100
    assert host.ask("data", SAMPLE[200:300], step=1, offset=200)["received"] == 100
    assert host.ask("data", SAMPLE[100:300], step=1, offset=100)["received"] == 300
    assert host.ask("data", SAMPLE[:10], step=2, offset=0)["received"] == 10


def test_refuses_a_sample_of_another_size(host: Host) -> None:
    error = refused(host.ask("data", b"x" * 100, step=1, offset=INPUT - 50), "bad_size")
    assert (error["detail"], error["expected"]) == (INPUT + 50, INPUT)
    refused(host.ask("data", b"x" * 100, step=1, offset=0xFFFFFFFF), "bad_size")
    host.ask("data", SAMPLE[:200], step=1, offset=0)
    error = refused(host.train(1), "bad_size")
    assert (error["detail"], error["expected"]) == (200, INPUT)


def test_refuses_a_label_it_does_not_have_and_keeps_the_sample(host: Host) -> None:
    host.push(1)
    error = refused(host.train(1, label=CLASSES), "bad_label")
    assert (error["detail"], error["expected"]) == (CLASSES, CLASSES)
    assert host.train(1, label=CLASSES - 1).name == "result"


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf"), float("-inf")])
def test_refuses_a_rate_that_is_no_rate(host: Host, rate: float) -> None:
    host.push(1)
    refused(host.train(1, lr=rate), "bad_lr")
    assert host.train(1, lr=0.0)["loss"] == SUM + 1


def test_a_corrupt_sample_is_not_trained_and_can_be_sent_again(host: Host) -> None:
    host.push(1, SAMPLE[:-1] + b"!")
    before = host.state()
    error = refused(host.train(1), "bad_crc")
    assert error["expected"] == zlib.crc32(SAMPLE)
    assert host.state() == before
    host.push(1)
    assert host.train(1).name == "result"


def test_refuses_steps_out_of_turn(host: Host) -> None:
    host.push(5)
    error = refused(host.train(5), "bad_step")
    assert (error["detail"], error["expected"]) == (5, 1)
    refused(host.train(0), "bad_step")


def test_a_loss_that_is_not_finite_changes_nothing(host: Host) -> None:
    before = host.state()
    bad = b"\xff" + bytes(INPUT - 1)
    host.push(1, bad)
    refused(host.train(1, crc=zlib.crc32(bad)), "diverged")
    assert host.state() == before
    assert host.ask("hello")["applied"] == 0


def test_written_state_counts_only_when_committed(host: Host) -> None:
    host.push(1)
    host.train(1)
    new = bytes(range(STATE))
    assert host.ask("write", new[:20], object=0, offset=0).name == "ack"
    assert host.ask("hello")["dirty"] == 1
    host.push(2)
    refused(host.train(2), "dirty")
    refused(host.train(1), "dirty")
    refused(host.ask("commit", object=0, crc=zlib.crc32(new), applied=40), "bad_crc")
    assert host.ask("write", new[20:], object=0, offset=20).name == "ack"
    assert host.ask("commit", object=0, crc=zlib.crc32(new), applied=40).name == "ack"
    assert host.state() == new
    assert (host.ask("hello")["applied"], host.ask("hello")["dirty"]) == (40, 0)
    refused(host.train(40), "bad_step")
    host.push(41)
    assert host.train(41)["applied"] == 41


def test_reads_and_writes_stay_inside_their_object(host: Host) -> None:
    refused(host.ask("write", b"x" * 20, object=0, offset=STATE - 10), "bad_size")
    refused(host.ask("write", b"x", object=0, offset=0xFFFFFFFF), "bad_size")
    refused(host.ask("write", b"x", object=1, offset=0), "unknown")
    refused(host.ask("read", object=0, offset=STATE + 1, length=1), "bad_size")
    refused(host.ask("read", object=9, offset=0, length=1), "unknown")
    assert host.ask("read", object=0, offset=STATE - 3, length=9).tail == host.state()[-3:]
    assert len(host.ask("read", object=1, offset=0, length=0xFFFF).tail) == 2 * 4


def test_unknown_and_misshapen_questions(host: Host) -> None:
    host.send(encode(99, 0, b""))
    assert refused(host.receive(), "unknown")["detail"] == 99
    host.send(encode(5, 0, b"short"))
    assert refused(host.receive(), "bad_size")["expected"] == 15
    host.send(encode(1, 0, b"long"))
    refused(host.receive(), "bad_size")
    refused(host.ask("train", step=1, label=0, mode=7, lr=0.0, crc=0), "unknown")


def test_damaged_frames_are_dropped_and_counted(host: Host) -> None:
    wire = bytearray(encode(1, 0, b""))
    wire[3] ^= 0x10
    host.send(bytes(wire) + b"\2\0")
    host.push(1)
    assert host.train(1)["crc_errors"] == 2


def test_reset_is_acknowledged_first(host: Host) -> None:
    assert host.ask("reset").name == "ack"
    assert host.process.wait(10) == 42


@pytest.mark.parametrize("seed", range(4))
def test_answers_anything_that_is_a_frame(host: Host, seed: int) -> None:
    """Well-formed frames of any type, size and content: one answer each, and ASan stays silent."""
    rng = random.Random(seed)
    edges = [0, 1, STATE, INPUT, INPUT - 1, 0x7FFFFFFF, 0xFFFFFFFF]
    types = [shape.type for name, shape in SHAPES.items() if name != "reset"] + [0, 99, 255]
    for _ in range(1500):
        words = b"".join(struct.pack("<I", rng.choice(edges)) for _ in range(rng.randrange(8)))
        noise = rng.randbytes(rng.randrange(MAX_PAYLOAD + 1))
        host.seq = rng.randrange(0x10000)
        host.send(encode(rng.choice(types), host.seq, rng.choice([words, words[rng.randrange(4) :], noise])))
        host.receive()
    assert host.ask("hello").name == "welcome"
