"""The codec: what is sent arrives, what is damaged does not, and the next frame always does."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcugrad.link.frame import MAX_WIRE, Decoder, encode
from mcugrad.link.messages import MAX_PAYLOAD, SHAPES, VERSION, Message, header_text, pack, unpack
from tests.link.noise import Noise

PAYLOADS = st.binary(max_size=MAX_PAYLOAD)


@given(st.integers(0, 255), st.integers(0, 65535), PAYLOADS, st.integers(1, 300))
def test_a_frame_arrives_whole_however_it_is_cut(type_: int, seq: int, payload: bytes, size: int) -> None:
    wire, decoder = encode(type_, seq, payload), Decoder()
    assert len(wire) <= MAX_WIRE
    pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    assert [(f.type, f.seq, f.payload) for f in frames] == [(type_, seq, payload)]


@given(st.lists(st.binary(max_size=3000), max_size=5), PAYLOADS)
def test_after_garbage_and_a_delimiter_the_next_frame_arrives(garbage: list[bytes], payload: bytes) -> None:
    decoder = Decoder()
    for piece in garbage:
        assert not list(decoder.feed(piece.replace(b"\0", b"\1")))
    frames = list(decoder.feed(b"\0" + encode(7, 9, payload)))
    assert [f.payload for f in frames] == [payload]


def test_ten_thousand_damaged_frames_yield_no_wrong_one() -> None:
    noise, decoder = Noise(1.0, seed=3), Decoder()
    sent = [bytes([i % 251, i // 251]) * (1 + i % 40) for i in range(10_000)]
    right = set(sent)
    for payload in sent:
        assert all(f.payload in right for f in decoder.feed(noise(encode(3, 1, payload))))
    assert decoder.crc_errors + decoder.resyncs > 2000


def test_a_payload_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode(1, 1, bytes(MAX_PAYLOAD + 1))


@given(st.integers(0, 255), PAYLOADS)
def test_no_payload_breaks_the_parser(type_: int, payload: bytes) -> None:
    message = unpack(type_, payload)
    if (
        message
        and message.name != "welcome"
        and all("char" not in f.kind for f in SHAPES[message.name].fields)
    ):
        assert pack(message) == (type_, payload)


def test_text_is_padded_and_trimmed() -> None:
    fields = {f.name: b"x" * 16 if f.name == "model_hash" else 1 for f in SHAPES["welcome"].fields}
    fields |= {"proto": VERSION, "board": "nucleo_f746zg", "model_name": "toy"}
    assert unpack(*pack(Message("welcome", fields))) == Message("welcome", fields)


def test_the_header_compiles(tmp_path) -> None:
    (tmp_path / "messages.h").write_text(header_text())
    main = "int main(void) { return sizeof(mg_msg_result) == 51 ? 0 : MG_ERR_BAD_SIZE; }"
    source = f'#include "messages.h"\n{main}\n'
    (tmp_path / "main.c").write_text(source)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["gcc", *flags, "-o", tmp_path / "main", tmp_path / "main.c"], check=True)
    subprocess.run([tmp_path / "main"], check=True)
