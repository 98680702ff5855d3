"""A port's name -> an open port; what can go wrong is said in the user's words.

/dev/ttyACM0 and COM5 are real boards, emu://<board> is the emulated one, socket://host:port anything on TCP.
usb is the only board plugged in; usb:<serial number>, usb:0483:374b or usb:0483:374b:<serial> one of several.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any
from urllib.parse import quote

import serial
from serial.tools import list_ports

from mcugrad import boards
from mcugrad.errors import NoBoardError, UserError

WRITE_TIMEOUT = 10.0  # without one, a port that takes no data blocks for ever
READ_SLICE = 0.02
USB = "usb"
_HANDLERS = "mcugrad.emulator.urlhandler"


def emulated(board: str, elf: Path) -> str:
    """The port of an emulated board that runs this image."""
    return f"emu://{board}?elf={quote(str(elf))}"


def is_url(port: str) -> bool:
    return "://" in port


def open_port(port: str, baud: int) -> Any:
    """An open pyserial port. NoBoardError says whether it is absent, busy or forbidden."""
    if _HANDLERS not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.append(_HANDLERS)
    port = find(port) if port.split(":")[0] == USB else port
    options: dict[str, Any] = {} if is_url(port) else {"exclusive": True}
    try:
        return serial.serial_for_url(
            port, baudrate=baud, timeout=READ_SLICE, write_timeout=WRITE_TIMEOUT, **options
        )
    except UserError:
        raise
    except (serial.SerialException, OSError, ValueError) as error:
        raise _explain(port, error) from None


def _explain(port: str, error: Exception) -> NoBoardError:
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.EBUSY or "lock" in text:
        fix = "close the other program (monitor, another run); `fuser` on the port names it"
        return NoBoardError(f"{port} is in use by another program", port, fix)
    if number in (errno.EACCES, errno.EPERM) or "PermissionError" in text:
        fix = "sudo usermod -aG dialout $USER, then log in again"
        return NoBoardError(f"no permission to open {port}", port, fix)
    if number == errno.ENOENT or "FileNotFoundError" in text:
        return NoBoardError(f"there is no port {port}", port, f"plug the board in; {present()}")
    return NoBoardError(f"cannot open {port}: {text}", port, f"check the port's name; {present()}")


def find(wanted: str) -> str:
    """The device of the one USB port that fits; NoBoardError lists them where none or several do."""
    named = wanted.lower().split(":")[1:]
    ports = [p for p in usb_ports() if _fits(p, named)]
    if not ports:
        fix = f"plug it in, or name another --port; {present()}"
        raise NoBoardError(f"no board is {wanted}", "USB", fix)
    if len(ports) > 1:
        choices = " or ".join(f"--port {USB}:{p.serial_number or p.device}" for p in ports)
        raise NoBoardError(f"{len(ports)} boards are {wanted}; {present()}", "USB", f"choose: {choices}")
    return str(ports[0].device)


def usb_ports() -> list[Any]:
    """USB serial ports, of the boards in boards/ first."""
    ports = [p for p in list_ports.comports() if p.vid is not None]
    return sorted(ports, key=lambda p: ((p.vid, p.pid) not in boards.usb_ids(), p.device))


def _fits(port: Any, named: list[str]) -> bool:
    """Nothing named: any board of boards/. Else a serial number, or vendor and product, or all three."""
    if not named or named == [""]:
        return (port.vid, port.pid) in boards.usb_ids()
    serial = str(port.serial_number or port.device).lower()
    have = [f"{port.vid:04x}", f"{port.pid:04x}", serial]
    return named == [serial] or named == have[: len(named)]


def describe(port: Any) -> str:
    """One USB port: device, what it says it is, ids, serial number."""
    return f"{port.device} ({port.description}, {port.vid:04x}:{port.pid:04x}, serial {port.serial_number})"


def present() -> str:
    """The serial ports of this machine, in words."""
    ports = [describe(p) for p in usb_ports()]
    return f"ports now: {', '.join(ports)}" if ports else "no USB serial port is present now"
