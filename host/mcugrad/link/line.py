"""Questions and answers over a port that may flip, drop or repeat anything: asked again until answered."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import serial

from mcugrad.errors import LinkError
from mcugrad.link.frame import DELIMITER, Decoder, encode
from mcugrad.link.messages import Message, error_name, pack, unpack


class PortLostError(LinkError):
    """The port is gone: unplugged, or the emulated board ended."""


class SilenceError(LinkError):
    """The port is there and nothing answers."""


class RefusedError(LinkError):
    """The board answered with an ERROR."""

    def __init__(self, code: str, detail: int, expected: int, question: str) -> None:
        what = f"the board refused {question.upper()}: {code} (found {detail}, expected {expected})"
        super().__init__(
            what, "link", "run again with --resume; if it repeats, report it with the command line"
        )
        self.code, self.detail, self.expected = code, detail, expected


class FaultError(LinkError):
    """The firmware crashed and says where."""

    def __init__(self, registers: Message) -> None:
        super().__init__(f"the firmware faulted at pc {registers['pc']:#010x}", "board", "reset the board")
        self.registers = registers


@dataclass(frozen=True)
class Timing:
    """Seconds to wait for an answer before asking again, and how often to ask in all."""

    answer: float = 2.0
    hello: float = 1.0
    tries: int = 12
    # A step's time is not known before the first one; then four times the slowest one is waited.
    first_step: float = 30.0
    shortest_step: float = 2.0


@dataclass
class Health:
    """What the line has been through, seen from the host."""

    bytes_sent: int = 0
    bytes_received: int = 0
    crc_errors: int = 0
    resyncs: int = 0
    retries: int = 0
    sample_bytes: int = 0  # of whole samples that arrived, and the time they were on their way
    sample_seconds: float = 0.0


class Line:
    """One port and the numbers of its questions."""

    def __init__(self, port: Any, name: str, timing: Timing) -> None:
        self.name, self.timing, self.health = name, timing, Health()
        self._port, self._decoder = port, Decoder()
        # Anywhere, so that no answer left over from another program's session is taken for ours.
        self._seq = random.getrandbits(16)
        self._arrived: deque[tuple[int, Message]] = deque()

    def send(self, message: Message) -> tuple[int, int]:
        """Send without waiting; returns the question's number and its bytes on the wire."""
        seq, data = self._number(message)
        self._write(data)
        return seq, len(data)

    def wake(self) -> None:
        """End whatever half frame the board may hold."""
        self._write(DELIMITER)

    def receive(self, until: float) -> tuple[int, Message] | None:
        """The next answer and its number; None when the clock passes `until`. Any LinkError.

        While a debugger holds an emulated board it is waited for, however long.
        """
        while not self._arrived:
            if not self._read() and time.monotonic() > until and not self._halted():
                return None
        seq, message = self._arrived.popleft()
        if message.name == "fault":
            raise FaultError(message)
        return seq, message

    def ask(self, question: Message, answer: str, wait: float | None = None) -> Message:
        """Ask until answered. Raises RefusedError for an ERROR, SilenceError when all tries are spent."""
        seq, data = self._number(question)
        for attempt in range(self.timing.tries):
            self.health.retries += attempt > 0
            # The number stays the same, so an answer that is merely late still counts.
            self._write(data)
            if reply := self._answer(seq, answer, question.name, wait or self.timing.answer):
                return reply
        raise SilenceError(
            f"no answer to {question.name.upper()} in {self.timing.tries} tries",
            self.name,
            "press the board's reset button; check the cable and that the image is flashed",
        )

    def _number(self, message: Message) -> tuple[int, bytes]:
        self._seq = (self._seq + 1) & 0xFFFF or 1  # 0 is the number of a FAULT
        type_, payload = pack(message)
        return self._seq, encode(type_, self._seq, payload)

    def _answer(self, seq: int, answer: str, question: str, wait: float) -> Message | None:
        until = time.monotonic() + wait
        while (arrived := self.receive(until)) is not None:
            number, message = arrived
            if number == seq and message.name == "error":
                raise RefusedError(
                    error_name(message["code"]), message["detail"], message["expected"], question
                )
            if number == seq and message.name == answer:
                return message
        return None

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            what, fix = "the port takes no data", "press the board's reset button, unplug and plug it again"
            raise SilenceError(what, self.name, fix) from None
        except (serial.SerialException, OSError, TypeError, ValueError) as error:
            raise self._lost(error) from None
        self.health.bytes_sent += len(data)

    def _read(self) -> bool:
        try:
            data = self._port.read(self._port.in_waiting or 1)
        except (serial.SerialException, OSError, TypeError, ValueError) as error:
            raise self._lost(error) from None
        self.health.bytes_received += len(data)
        for frame in self._decoder.feed(data):
            if message := unpack(frame.type, frame.payload):
                self._arrived.append((frame.seq, message))
        self.health.crc_errors, self.health.resyncs = self._decoder.crc_errors, self._decoder.resyncs
        return bool(data)

    def _lost(self, error: Exception) -> PortLostError:
        return PortLostError(f"the port is gone ({error})", self.name, "plug the board in again")

    def control(self, command: dict[str, Any]) -> dict[str, Any]:
        """Ask the emulator beside the line."""
        try:
            return dict(self._port.control(command))
        except (serial.SerialException, OSError) as error:
            raise self._lost(error) from None

    def clock(self) -> float:
        """Seconds: of this machine, or of the board's own time where it is emulated."""
        return float(self.control({"cmd": "clock"})["seconds"]) if self.emulated else time.monotonic()

    def _halted(self) -> bool:
        return self.emulated and bool(self.control({"cmd": "clock"})["halted"])

    @property
    def baud(self) -> int:
        return int(getattr(self._port, "baudrate", 0))

    @property
    def emulated(self) -> bool:
        return hasattr(self._port, "control")

    def replace(self, port: Any) -> None:
        """Go on over another open port; what was half said on the old one is forgotten."""
        self._port = port
        list(self._decoder.feed(DELIMITER))
        self._arrived.clear()

    def close(self) -> None:
        self._port.close()
