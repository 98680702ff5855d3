"""Ports that are absent, busy or pulled out, through pyserial on a pseudo terminal."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from serial.tools import list_ports

from mcugrad.errors import NoBoardError
from mcugrad.link import session as session_module
from mcugrad.link.line import PortLostError
from mcugrad.link.ports import emulated, find, open_port
from mcugrad.link.session import Session
from tests.link.fake_board import FakeBoard


class PtyBoard:
    """A FakeBoard behind a pseudo terminal."""

    def __init__(self) -> None:
        self.board, self.stopped = FakeBoard(), threading.Event()
        self._master, slave = os.openpty()
        self.path = os.ttyname(slave)
        self._slave = slave
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self.stopped.is_set():
            if select.select([self._master], [], [], 0.01)[0]:
                for answer in self.board.take(os.read(self._master, 4096)):
                    os.write(self._master, answer)
        os.close(self._master)

    def unplug(self) -> None:
        self.stopped.set()
        self._thread.join()
        os.close(self._slave)


@pytest.fixture
def pty() -> Iterator[PtyBoard]:
    board = PtyBoard()
    yield board
    if not board.stopped.is_set():
        board.unplug()


def test_a_session_over_a_real_terminal(pty: PtyBoard) -> None:
    session = Session.connect(pty.path, 921600, pty.board.expected)
    assert session.train(1, bytes(64), 3, 0.1)["applied"] == 1
    assert session.read_state() == pty.board.weights.tobytes()
    assert session.read_cycles() == [0, 2047, 2046, 1 << 31]
    session.close()


def test_a_busy_port_is_named(pty: PtyBoard) -> None:
    first = open_port(pty.path, 115200)
    with pytest.raises(NoBoardError, match="in use by another program"):
        open_port(pty.path, 115200)
    first.close()


def test_a_port_that_is_pulled_out(pty: PtyBoard) -> None:
    session = Session.connect(pty.path, 921600, pty.board.expected)
    session.train(1, bytes(64), 3, 0.1)
    pty.unplug()
    with pytest.raises(PortLostError, match="the port is gone"):
        session.train(2, bytes(64), 3, 0.1)
    assert pty.board.applied_log == [1]


def test_a_board_that_is_plugged_in_again(tmp_path: Path) -> None:
    """The port comes back under its name, and the session goes on with what is there then."""
    name, first = tmp_path / "tty", PtyBoard()
    name.symlink_to(first.path)
    session = Session.connect(str(name), 921600, first.board.expected)
    session.train(1, bytes(64), 3, 0.1)
    first.unplug()
    name.unlink()
    with pytest.raises(PortLostError) as lost:
        session.train(2, bytes(64), 3, 0.1)
    second = PtyBoard()
    threading.Timer(0.5, name.symlink_to, (second.path,)).start()
    session.recover(lost.value)
    assert session.welcome["applied"] == 0
    assert session.train(1, bytes(64), 3, 0.1)["applied"] == 1
    session.close()
    second.unplug()


def test_a_board_that_stays_away(monkeypatch: pytest.MonkeyPatch, pty: PtyBoard) -> None:
    monkeypatch.setattr(session_module, "REPLUG_SECONDS", 0.5)
    session = Session.connect(pty.path, 921600, pty.board.expected)
    pty.unplug()
    with pytest.raises(PortLostError) as lost:
        session.train(1, bytes(64), 3, 0.1)
    with pytest.raises(PortLostError, match="the port is gone"):
        session.recover(lost.value)


def test_no_such_port() -> None:
    with pytest.raises(NoBoardError, match="there is no port /dev/ttyNOPE"):
        open_port("/dev/ttyNOPE", 115200)


def test_an_unknown_scheme() -> None:
    with pytest.raises(NoBoardError, match="cannot open what://"):
        open_port("what://x", 115200)


def test_the_emulated_boards_address_survives_odd_paths(tmp_path) -> None:
    assert emulated("b", tmp_path / "a b&c.elf").endswith("a%20b%26c.elf")


class UsbPort:
    """What pyserial tells of a USB port."""

    def __init__(self, device: str, vid: int, pid: int, serial_number: str | None) -> None:
        self.device, self.vid, self.pid, self.serial_number = device, vid, pid, serial_number
        self.description = "STM32 STLink"


TWO = [
    UsbPort("/dev/ttyACM0", 0x0483, 0x374B, "066AFF11"),
    UsbPort("/dev/ttyACM1", 0x0483, 0x374E, "003B0042"),
]
OTHER = UsbPort("/dev/ttyUSB0", 0x0403, 0x6001, None)


@pytest.mark.parametrize(
    ("wanted", "device"),
    [("usb:066aff11", 0), ("usb:003B0042", 1), ("usb:0483:374e", 1), ("usb:0483:374b:066AFF11", 0)],
)
def test_a_board_by_its_usb_name(monkeypatch: pytest.MonkeyPatch, wanted: str, device: int) -> None:
    monkeypatch.setattr(list_ports, "comports", lambda: [OTHER, *TWO])
    assert find(wanted) == TWO[device].device


def test_the_only_board_needs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ports, "comports", lambda: [OTHER, TWO[1]])
    assert find("usb") == "/dev/ttyACM1"


def test_several_boards_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ports, "comports", lambda: TWO)
    with pytest.raises(NoBoardError, match="2 boards are usb") as error:
        open_port("usb", 921600)
    assert "0483:374b, serial 066AFF11" in error.value.what and "0483:374e" in error.value.what
    assert error.value.fix == "choose: --port usb:066AFF11 or --port usb:003B0042"


def test_no_board_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ports, "comports", lambda: [OTHER])
    with pytest.raises(NoBoardError, match="no board is usb:1234") as error:
        find("usb:1234")
    assert "/dev/ttyUSB0" in error.value.fix
