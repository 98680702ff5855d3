"""GDB's remote serial protocol, below its commands: packets on the line, the target's description."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from functools import reduce

INTERRUPT = b"\x03"
SPECIAL = b"#$}*"
M_PROFILE = [*(f"r{i}" for i in range(13)), "sp", "lr", "pc", "xpsr"]
M_SYSTEM = ["msp", "psp", "primask", "basepri", "faultmask", "control"]
_FIRST_DOUBLE, _DOUBLES = len(M_PROFILE), 16


def target_xml() -> str:
    """The registers of a Cortex-M7 with its FPU, in the order of debug.WORDS."""
    kinds = {"sp": ' type="data_ptr"', "pc": ' type="code_ptr"'}
    core = "".join(f'<reg name="{n}" bitsize="32"{kinds.get(n, "")}/>' for n in M_PROFILE)
    doubles = "".join(f'<reg name="d{i}" bitsize="64" type="ieee_double"/>' for i in range(_DOUBLES))
    system = "".join(f'<reg name="{n}" bitsize="32"/>' for n in M_SYSTEM)
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">'
        "<target><architecture>arm</architecture>"
        f'<feature name="org.gnu.gdb.arm.m-profile">{core}</feature>'
        f'<feature name="org.gnu.gdb.arm.vfp">{doubles}<reg name="fpscr" bitsize="32"/></feature>'
        f'<feature name="org.gnu.gdb.arm.m-system">{system}</feature></target>'
    )


def memory_xml(spans: Iterable[tuple[int, int, bool]]) -> str:
    """(address, bytes, writable) of each memory; GDB breaks in one that is not writable as it is told to."""
    rows = (
        f'<memory type="{"ram" if writable else "rom"}" start="{start:#x}" length="{size:#x}"/>'
        for start, size, writable in spans
    )
    return f'<?xml version="1.0"?><memory-map>{"".join(rows)}</memory-map>'


def words_of(register: int) -> range:
    """Where a register of target_xml lies in debug.WORDS."""
    past = register - _FIRST_DOUBLE
    if past < 0:
        return range(register, register + 1)
    at = _FIRST_DOUBLE + 2 * min(past, _DOUBLES) + max(0, past - _DOUBLES)
    return range(at, at + (2 if past < _DOUBLES else 1))


def checksum(data: bytes) -> bytes:
    return b"%02x" % (sum(data) & 0xFF)


def escaped(data: bytes) -> bytes:
    return b"".join(bytes([0x7D, b ^ 0x20]) if b in SPECIAL else bytes([b]) for b in data)


def unescaped(data: bytes) -> bytes:
    first, *rest = data.split(b"}")
    return reduce(lambda done, part: done + bytes([part[0] ^ 0x20]) + part[1:], rest, first)


class Packets:
    """A client's bytes -> packets, INTERRUPT among them; broken ones are asked for again."""

    def __init__(self, client: socket.socket) -> None:
        self.client, self.text, self.acknowledge = client, b"", True

    def take(self, data: bytes) -> Iterator[bytes]:
        self.text += data
        while self.text:
            if self.text[:1] == b"$":
                end = self.text.find(b"#")
                if end < 0 or len(self.text) < end + 3:
                    return
                packet, check = self.text[1:end], self.text[end + 1 : end + 3]
                self.text = self.text[end + 3 :]
                good = checksum(packet) == check.lower()
                if self.acknowledge:
                    self.client.sendall(b"+" if good else b"-")
                if good:
                    yield packet
            else:
                if self.text[:1] == INTERRUPT:
                    yield INTERRUPT
                self.text = self.text[1:]

    def send(self, data: bytes) -> None:
        self.client.sendall(b"$" + data + b"#" + checksum(data))
