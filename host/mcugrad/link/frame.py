"""Frames <-> bytes of the wire: COBS(type:u8 flags:u8 seq:u16 payload crc32:u32) 0x00, little endian."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from cobs import cobs

from mcugrad.link.messages import MAX_PAYLOAD

DELIMITER = b"\0"
_HEAD = struct.Struct("<BBH")
_CRC = struct.Struct("<I")
_OVERHEAD = _HEAD.size + _CRC.size
# COBS adds one byte in 254, and one.
MAX_WIRE = MAX_PAYLOAD + _OVERHEAD + (MAX_PAYLOAD + _OVERHEAD) // 254 + 2


@dataclass(frozen=True)
class Frame:
    """One frame that arrived whole."""

    type: int
    flags: int
    seq: int
    payload: bytes


def encode(type_: int, seq: int, payload: bytes) -> bytes:
    """The frame's bytes on the wire, delimiter included. ValueError if the payload is too long."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"payload of {len(payload)} bytes, at most {MAX_PAYLOAD}")
    body = _HEAD.pack(type_, 0, seq) + payload
    return bytes(cobs.encode(body + _CRC.pack(zlib.crc32(body)))) + DELIMITER


class Decoder:
    """Bytes in, frames out. After damage it goes on at the next delimiter.

    crc_errors counts frames whose CRC was wrong, resyncs stretches that were no frame at all.
    """

    def __init__(self) -> None:
        self.crc_errors = 0
        self.resyncs = 0
        self._rest = bytearray()
        self._skip = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take what came in, yield the frames it completes. Consume all of it before feeding more."""
        *whole, rest = (bytes(self._rest) + data).split(DELIMITER)
        self._rest = bytearray(rest)
        for stretch in whole:
            skip, self._skip = self._skip, False
            frame = None if skip or not stretch else self._decode(stretch)
            if frame:
                yield frame
        if len(self._rest) > MAX_WIRE:
            self._drop()

    def _drop(self) -> None:
        """No frame is this long: forget it now, and what follows up to the delimiter."""
        self._rest.clear()
        self.resyncs += not self._skip
        self._skip = True

    def _decode(self, stretch: bytes) -> Frame | None:
        try:
            body = cobs.decode(stretch)
        except cobs.DecodeError:
            body = b""
        if not _OVERHEAD <= len(body) <= MAX_PAYLOAD + _OVERHEAD:
            self.resyncs += 1
            return None
        if zlib.crc32(body[: -_CRC.size]) != _CRC.unpack_from(body, len(body) - _CRC.size)[0]:
            self.crc_errors += 1
            return None
        type_, flags, seq = _HEAD.unpack_from(body)
        return Frame(type_, flags, seq, body[_HEAD.size : -_CRC.size])
