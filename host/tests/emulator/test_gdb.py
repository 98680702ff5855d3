"""The GDB server, by raw packets: debugging changes no result and no instruction count."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from mcugrad.emulator import rsp
from mcugrad.errors import UserError

from .conftest import TIMEOUT, Bare

PC, XPSR, D0 = 15, 16, 17
ROUNDS = 4


class Client:
    """A debugger that speaks packets."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT)
        self.text = b""

    def send(self, packet: str) -> None:
        self.socket.sendall(b"$" + packet.encode() + b"#" + rsp.checksum(packet.encode()))

    def receive(self) -> str:
        while self.text.count(b"#") == 0 or len(self.text) < self.text.index(b"#") + 3:
            got = self.socket.recv(4096)
            assert got, "the server closed the connection"
            self.text += got
        packet, rest = self.text.split(b"#", 1)
        self.text = rest[2:]
        assert rest[:2] == rsp.checksum(packet.lstrip(b"+-")[1:])
        return packet.lstrip(b"+-")[1:].decode()

    def ask(self, packet: str) -> str:
        self.send(packet)
        return self.receive()

    def register(self, number: int) -> int:
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")

    def run_to(self, address: int) -> None:
        assert self.ask(f"Z1,{address:x},2") == "OK"
        assert self.ask("vCont;c") == "S05"
        assert self.register(PC) == address
        assert self.ask(f"z1,{address:x},2") == "OK"


@pytest.fixture
def debugged(bare_elf: Path) -> Iterator[Bare]:
    with serial.serial_for_url(f"emu://nucleo_f746zg?elf={bare_elf}&gdb=0", timeout=TIMEOUT) as port:
        yield Bare(port)


@pytest.fixture
def client(debugged: Bare) -> Iterator[Client]:
    client = Client(debugged.port.gdb)
    yield client
    client.socket.close()


def address(bare: Bare, name: str) -> int:
    return int(bare.control({"cmd": "symbol", "name": name})["address"]) & ~1


def counted(bare: Bare, name: str) -> list[int]:
    """Instructions of each completed call."""
    calls = bare.control({"cmd": "counters"})["calls"]
    return [int(c["instructions"]) for c in calls if c["symbol"] == name]


def stop_in(bare: Bare, client: Client, name: str, command: str, argument: int) -> None:
    """The board halts at the entry of a function that a command to its firmware calls."""
    bare.send(command, argument)
    client.run_to(address(bare, name))


@pytest.mark.parametrize("ranges", [False, True])
def test_stops_in_conditional_blocks_change_nothing(debugged: Bare, client: Client, ranges: bool) -> None:
    """Halted before each instruction in turn, IT blocks too: the same result, the same count."""
    debugged.control({"cmd": "watch", "symbol": "it_loop"})
    stop_in(debugged, client, "it_loop", "i", ROUNDS)
    steps, back = 0, client.register(14) & ~1
    while (pc := client.register(PC)) != back:
        assert client.ask(f"vCont;r{pc:x},{pc + 1:x}" if ranges else "vCont;s") == "S05"
        steps += 1
    assert steps == 10 * ROUNDS + 3
    assert client.ask("D") == "OK"
    _, result = debugged.words(2)
    assert counted(debugged, "it_loop") == [steps]
    assert debugged.ask("i", ROUNDS, count=2)[1] == result
    assert counted(debugged, "it_loop") == [steps, steps]


def test_a_breakpoint_in_a_loop_is_met_each_round(debugged: Bare, client: Client) -> None:
    stop_in(debugged, client, "plain_loop", "c", ROUNDS)
    inside = client.register(PC) + 10  # in the middle of a block: "subs r0, #1"
    assert client.ask(f"Z0,{inside:x},2") == "OK"
    for left in range(ROUNDS, 0, -1):
        assert client.ask("c") == "S05"
        assert (client.register(PC), client.register(0)) == (inside, left)
    assert client.register(1) == ROUNDS * (ROUNDS + 1) // 2
    client.send("c")
    assert debugged.words(2)[1] == 0


def test_interrupt_and_registers_and_memory(debugged: Bare, client: Client) -> None:
    client.send("vCont;c")
    client.socket.sendall(b"\x03")
    assert client.receive() == "S02"
    words = bytes.fromhex(client.ask("g"))
    assert words[4 * PC :][:4] == client.register(PC).to_bytes(4, "little")
    assert client.ask(f"P{D0 + 15:x}=" + struct.pack("<d", 1.5).hex()) == "OK"
    assert client.ask(f"p{D0 + 15:x}") == struct.pack("<d", 1.5).hex()
    assert client.ask("X20008000,4:}\x03}\x04}\x5dx") == "OK"
    assert client.ask("m20008000,4") == b"#$}x".hex()
    assert client.ask("M8000000,4:00000000") == "E0e"
    assert client.ask("m60000000,4") == "E0e"
    assert client.ask("me000ed00,4") == "71c20f41"
    client.send("D")
    client.receive()
    assert debugged.ask("r", 0x20008000)[0].to_bytes(4, "little") == b"#$}x"


def test_description_and_monitor(debugged: Bare, client: Client) -> None:
    xml = client.ask("qXfer:features:read:target.xml:0,fff")
    assert xml[0] == "l" and xml.count("<reg ") == 17 + 17 + 6
    assert client.ask("qXfer:features:read:target.xml:0,10") == "m" + xml[1:17]
    assert 'type="rom" start="0x8000000"' in client.ask("qXfer:memory-map:read::0,fff")
    assert b"reset" in bytes.fromhex(client.ask("qRcmd," + b"reset halt".hex()))
    start = int.from_bytes(bytes.fromhex(client.ask("m8000004,4")), "little")
    assert client.register(PC) == start & ~1
    assert b'"faults": []' in bytes.fromhex(client.ask("qRcmd," + b"faults".hex()))
    assert b"unknown command" in bytes.fromhex(client.ask("qRcmd," + b"nonsense".hex()))


def test_a_client_that_goes_away_leaves_a_running_board(debugged: Bare, client: Client) -> None:
    stop_in(debugged, client, "it_loop", "i", ROUNDS)
    client.ask(f"Z1,{address(debugged, 'it_loop'):x},2")
    client.socket.close()
    assert len(debugged.words(2)) == 2
    again = Client(debugged.port.gdb)
    assert again.ask("?") == "S05"
    again.socket.close()
    debugged.ask("i", ROUNDS, count=2)


def test_broken_packets_are_asked_for_again(client: Client) -> None:
    client.socket.sendall(b"$?#00")
    assert client.socket.recv(1) == b"-"
    assert client.ask("?") == "S05"
    assert client.ask("QStartNoAckMode") == "OK"
    client.send("?")
    assert client.socket.recv(64) == b"$S05#b8"
    for nonsense in ("m1", "Z1", "pzz", "vCont;rq", "X0", "G1"):
        assert client.ask(nonsense) in ("E01", "OK"), nonsense


def test_a_taken_port_is_refused_in_words(debugged: Bare) -> None:
    taken = debugged.port.portstr.replace("gdb=0", f"gdb={debugged.port.gdb}")
    with pytest.raises(UserError, match="cannot listen"):
        serial.serial_for_url(taken)
