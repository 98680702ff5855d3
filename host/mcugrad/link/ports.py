"""A port's name -> an open port; what can go wrong is said in the user's words.

/dev/ttyACM0 and COM5 are real boards, emu://<board> is the emulated one, socket://host:port anything on TCP.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any
from urllib.parse import quote

import serial
from serial.tools import list_ports

from mcugrad.errors import NoBoardError, UserError

WRITE_TIMEOUT = 10.0  # without one, a port that takes no data blocks for ever
READ_SLICE = 0.02
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


def present() -> str:
    """The serial ports of this machine, in words."""
    ports = [f"{p.device} ({p.description})" for p in list_ports.comports() if p.vid is not None]
    return f"ports now: {', '.join(ports)}" if ports else "no USB serial port is present now"
