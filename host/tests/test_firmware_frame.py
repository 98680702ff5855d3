"""firmware/frame.c against Python's cobs and zlib, under ASan and UBSan."""

from __future__ import annotations

import random
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cobs import cobs

from mcugrad.link.messages import MAX_PAYLOAD
from mcugrad.paths import FIRMWARE

HERE = Path(__file__).parent / "firmware"
MAX = 4 + MAX_PAYLOAD + 4
DROPPED = None


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    exe = tmp_path_factory.mktemp("frame") / "driver"
    flags = [
        "-std=gnu11",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover",
    ]
    sources = [str(HERE / "frame_driver.c"), str(FIRMWARE / "frame.c")]
    subprocess.run(["gcc", *flags, f"-I{FIRMWARE}", *sources, "-o", str(exe)], check=True)
    return exe


def decode(driver: Path, wire: bytes) -> list[bytes | None]:
    """Frames (without CRC) and drops, in order, as the firmware sees them."""
    out = subprocess.run([driver, "decode"], input=wire, capture_output=True, check=True).stdout
    return list(_events(out))


def _events(out: bytes) -> Iterator[bytes | None]:
    while out:
        size, out = struct.unpack_from("<H", out)[0], out[2:]
        if size == 0xFFFF:
            yield DROPPED
        else:
            yield out[:size]
            out = out[size:]


def reference(wire: bytes) -> list[bytes | None]:
    return [_one(stretch) for stretch in wire.split(b"\0")[:-1] if stretch]


def _one(stretch: bytes) -> bytes | None:
    try:
        body = cobs.decode(stretch)
    except cobs.DecodeError:
        return DROPPED
    sound = 8 <= len(body) <= MAX and zlib.crc32(body[:-4]) == struct.unpack("<I", body[-4:])[0]
    return body[:-4] if sound else DROPPED


def wire_of(body: bytes) -> bytes:
    return cobs.encode(body + struct.pack("<I", zlib.crc32(body))) + b"\0"


def payload(rng: random.Random, size: int) -> bytes:
    """Mostly zeros, no zeros, or anything: the three kinds of COBS blocks."""
    kind = rng.choice([b"\0\0\0\1", bytes(range(1, 256)), bytes(range(256))])
    return bytes(rng.choice(kind) for _ in range(size))


SIZES = [0, 1, 2, 100, *range(MAX_PAYLOAD - 4, MAX_PAYLOAD + 1)]  # the last around a COBS block of 254


@pytest.mark.parametrize("size", SIZES)
def test_encodes_as_python_does(driver: Path, size: int) -> None:
    rng = random.Random(size)
    for fill in (b"\1" * size, b"\0" * size, payload(rng, size)):
        record = struct.pack("<BHH", 5, 0xBEEF, size) + fill
        out = subprocess.run([driver, "encode"], input=record, capture_output=True, check=True).stdout
        assert out == wire_of(struct.pack("<BBH", 5, 0, 0xBEEF) + fill)
        assert decode(driver, out) == [struct.pack("<BBH", 5, 0, 0xBEEF) + fill]


def test_drops_what_is_damaged_and_goes_on(driver: Path) -> None:
    good = wire_of(b"\3\0\1\0hello")
    for at in range(len(good) - 1):
        bad = bytearray(good)
        bad[at] ^= 0x41
        assert decode(driver, bytes(bad) + good)[-1] == b"\3\0\1\0hello"
        assert decode(driver, bytes(bad) + good) == reference(bytes(bad) + good)


def test_drops_what_is_too_long_or_too_short(driver: Path) -> None:
    good = wire_of(b"\3\0\1\0")
    wire = (
        wire_of(b"\7" * (MAX - 4))
        + wire_of(b"\7" * (MAX - 3))
        + b"\2" * 5000
        + b"\0"
        + cobs.encode(b"abc")
        + b"\0"
        + good
    )
    assert decode(driver, wire) == [b"\7" * (MAX - 4), DROPPED, DROPPED, DROPPED, b"\3\0\1\0"]


@pytest.mark.parametrize("seed", range(20))
def test_random_streams(driver: Path, seed: int) -> None:
    """Frames, noise, and frames with bytes flipped, lost and doubled."""
    rng = random.Random(seed)
    wire = bytearray()
    for _ in range(60):
        wire += rng.choice([b"", b"\0", rng.randbytes(rng.randrange(40))])
        wire += wire_of(rng.randbytes(4) + payload(rng, rng.choice(SIZES)))
    for _ in range(rng.randrange(120)):
        at = rng.randrange(len(wire))
        wire[at : at + 1] = rng.choice([b"", bytes([wire[at], wire[at]]), rng.randbytes(1), b"\0"])
    assert decode(driver, bytes(wire)) == reference(bytes(wire))
