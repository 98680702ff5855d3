"""A board that has said who it is: steps, evaluations, and its trained state going out and coming back."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mcugrad.errors import DivergedError, LinkError, MismatchError, NoBoardError, UserError
from mcugrad.link.faults import explain
from mcugrad.link.identity import Expected, check_welcome, reset_cause
from mcugrad.link.line import FaultError, Health, Line, PortLostError, RefusedError, SilenceError, Timing
from mcugrad.link.messages import MAX_PAYLOAD, MODES, OBJECTS, SHAPES, Message
from mcugrad.link.ports import open_port
from mcugrad.link.transfer import Transfer

T = TypeVar("T")
_CHUNK = MAX_PAYLOAD - SHAPES["chunk"].struct.size
_OLD_FAULTS = 20  # reports that may wait in the buffers of a port
REPLUG_SECONDS = 30.0  # how long a port that went away may stay away
_REPLUG_POLL = 0.2
_BITS = 11  # of a node's cycles; firmware/cycles.c
_EVALS = 0x8000_0000  # evaluations are numbered from here, so no piece of a sample belongs to two


def early_marks(feeds: int) -> int:
    """Marks that come before those of the nodes: two around what runs on each piece of the sample."""
    return 2 * feeds


def rounded_cycles(cycles: int) -> int:
    """As a board keeps them: rounded down to 11 significant bits, so less than 0.1 % too few."""
    shift = max(cycles.bit_length() - _BITS, 0)
    return cycles >> shift << shift


class BoardResetError(LinkError):
    """The board started anew in the middle of a run: its state is the one in flash again."""


class Session:
    """Talks to one board. Every method may raise LinkError; what the board holds is then unknown."""

    def __init__(
        self,
        port: Any,
        name: str,
        expected: Expected,
        elf: Path | None = None,
        timing: Timing | None = None,
        reopen: Callable[[], Any] | None = None,
    ):
        """`reopen` gives the port again after it was pulled out; without it that ends the session."""
        self._line, self._expected, self._elf = Line(port, name, timing or Timing()), expected, elf
        self._reopen = reopen
        self._slowest, self._evals = 0.0, 0
        self.welcome = self._greet()

    @classmethod
    def connect(cls, port: str, baud: int, expected: Expected, elf: Path | None = None) -> Session:
        """Open the port and check the firmware; NoBoardError, LinkError or MismatchError."""
        opened = open_port(port, baud)
        try:
            return cls(opened, port, expected, elf, reopen=lambda: open_port(port, baud))
        except BaseException:
            opened.close()
            raise

    @property
    def health(self) -> Health:
        return self._line.health

    @property
    def port(self) -> str:
        return self._line.name

    @property
    def baud(self) -> int:
        """Bits a second of the line; 0 where it has none."""
        return self._line.baud

    @property
    def emulated(self) -> bool:
        return self._line.emulated

    def close(self) -> None:
        self._line.close()

    def train(self, step: int, sample: bytes, label: int, lr: float) -> Message:
        """Apply one sample: exactly once, whatever the line does. The RESULT, or UserError and no update."""
        self._check_sample(sample, label)
        if not 0 <= lr < float("inf"):
            raise UserError(f"the learning rate is {lr}", f"step {step}", "give a finite --lr of at least 0")
        return self._guarded(lambda: self._run(step, sample, label, "train", lr))

    def evaluate(self, sample: bytes, label: int) -> Message:
        """The RESULT of one sample; changes nothing on the board."""
        self._check_sample(sample, label)
        self._evals += 1
        return self._guarded(lambda: self._run(_EVALS + self._evals % _EVALS, sample, label, "eval", 0.0))

    def read_state(self) -> bytes:
        """The trained state, checked against the board's own CRC of it."""
        for _ in range(3):
            state = self._guarded(lambda: self._read("state", self.welcome["state_bytes"]))
            if zlib.crc32(state) == self.hello()["weights_crc"]:
                return state
        raise LinkError(
            "the state read back has another CRC than on the board", self.port, "lower the baud rate"
        )

    def read_cycles(self) -> list[int]:
        """Cycles of each node of the last run, as `rounded_cycles` makes them."""
        nodes = self.welcome["nodes"]
        packed = struct.unpack(f"<{nodes}H", self._guarded(lambda: self._read("marks", 2 * nodes)))
        return [(n & (1 << _BITS) - 1) << (n >> _BITS) for n in packed]

    def emulated_marks(self, feeds: int = 0) -> list[tuple[int, int]] | None:
        """(instructions, cycles) at those marks where the board is emulated and can count them, else None.

        feeds: into how many pieces the manifest cuts the sample; what ran after each moves the first mark
        back.
        """
        before = early_marks(feeds)
        count = before + self.welcome["nodes"] + 1
        found = self.control({"cmd": "marks", "last": count})["marks"] if self.emulated else []
        if len(found) != count:
            return None
        early, marks = found[:before], [(m[0], m[1]) for m in found[before:]]
        spent = [sum(m[k] for m in early[1::2]) - sum(m[k] for m in early[::2]) for k in (0, 1)]
        return [(marks[0][0] - spent[0], marks[0][1] - spent[1]), *marks[1:]]

    def control(self, command: dict[str, Any]) -> dict[str, Any]:
        """Ask the emulator beside the line; for emulated boards only."""
        return self._line.control(command)

    def write_state(self, state: bytes, applied: int) -> None:
        """Replace the trained state; the next training step is applied + 1."""
        self._guarded(lambda: self._write(state, applied))
        if self.hello()["weights_crc"] != zlib.crc32(state):
            raise LinkError("the board holds another state than was written", self.port, "reset the board")

    def fresh(self) -> None:
        """Make the trained state the one in flash, whatever an earlier run left on the board."""
        if self.welcome["applied"] or self.welcome["dirty"]:
            self.reset()

    def reset(self) -> None:
        """Start the board anew: its trained state is the one in flash again."""
        before = self.welcome["boot_id"]
        self._guarded(lambda: self._line.ask(Message("reset", {}), "ack"))
        until = time.monotonic() + self._line.timing.first_step
        while self.welcome["boot_id"] == before:
            if time.monotonic() > until:
                raise LinkError("the board does not reset", self.port, "press its reset button")
            self._line.wake()
            self.welcome = self._guarded(self._hello)

    def recover(self, lost: LinkError) -> None:
        """After a reset or a pulled cable: the board answers again, with the state of its flash.

        Raises `lost` where the port does not come back within REPLUG_SECONDS; MismatchError where another
        board or firmware does.
        """
        if not isinstance(lost, PortLostError):
            return self.reset()
        if self._reopen is None:
            raise lost
        self._line.close()
        until = time.monotonic() + REPLUG_SECONDS
        while True:
            try:
                self._line.replace(self._reopen())
                self.welcome = self._greet()
                return None
            except (NoBoardError, PortLostError):
                self._line.close()
                if time.monotonic() > until:
                    raise lost from None
                time.sleep(_REPLUG_POLL)

    def hello(self) -> Message:
        """Ask again who is there; BoardResetError if it has started anew since the session began."""
        welcome = self._guarded(lambda: self._line.ask(Message("hello", {}), "welcome"))
        self._same_boot(welcome)
        return welcome

    def _greet(self) -> Message:
        self._line.wake()
        for _ in range(_OLD_FAULTS):
            try:
                return check_welcome(self._hello(), self._expected, self.port)
            except FaultError:
                # An earlier run's crash has been reported then; this one starts from a reset.
                self._line.send(Message("reset", {}))
        return check_welcome(self._guarded(self._hello), self._expected, self.port)

    def _hello(self) -> Message:
        try:
            return self._line.ask(Message("hello", {}), "welcome", self._line.timing.hello)
        except SilenceError:
            fix = f"flash the image (`pio run -e {self._expected.board} -t upload`) and press reset"
            raise NoBoardError("nothing that speaks mcugrad answers", self.port, fix) from None

    def _check_sample(self, sample: bytes, label: int) -> None:
        want, classes = self.welcome["input_bytes"], self.welcome["classes"]
        if len(sample) != want:
            raise UserError(
                f"the sample has {len(sample)} bytes, the model takes {want}", "source", "resize it"
            )
        if not 0 <= label < classes:
            raise UserError(
                f"label {label}, the model has {classes} classes", "source", "check labels and --model"
            )

    def _run(self, step: int, sample: bytes, label: int, mode: str, lr: float) -> Message:
        fields = {"step": step, "label": label, "mode": MODES[mode], "lr": lr, "crc": zlib.crc32(sample)}
        for _ in range(self._line.timing.tries):
            self._send(step, sample)
            try:
                return self._result(Message("train", fields))
            except RefusedError as refusal:
                self._judge(refusal, step)
        raise SilenceError(
            f"step {step}: no sample arrives whole", self.port, "check the cable, lower the baud rate"
        )

    def _send(self, step: int, sample: bytes) -> None:
        began = self._line.clock()
        Transfer(self._line, self.welcome["window"], step, sample).run()
        self.health.sample_seconds += self._line.clock() - began
        self.health.sample_bytes += len(sample)

    def _result(self, question: Message) -> Message:
        timing, began = self._line.timing, time.monotonic()
        wait = max(timing.shortest_step, 4 * self._slowest) if self._slowest else timing.first_step
        result = self._line.ask(question, "result", wait)
        if time.monotonic() - began < wait:
            self._slowest = max(self._slowest, time.monotonic() - began)
        self._same_boot(result)
        return result

    def _judge(self, refusal: RefusedError, step: int) -> None:
        """Return if sending the sample again mends it."""
        self._line.health.retries += 1
        if refusal.code in ("BAD_SIZE", "BAD_CRC"):
            return
        self.hello()
        if refusal.code == "DIVERGED":
            raise DivergedError("the loss is no longer a number", f"step {step}", "lower --lr") from None
        raise refusal

    def _read(self, thing: str, size: int) -> bytes:
        data = b""
        while len(data) < size:
            fields = {"object": OBJECTS[thing], "offset": len(data), "length": min(_CHUNK, size - len(data))}
            chunk = self._line.ask(Message("read", fields), "chunk")
            if chunk["offset"] != len(data) or not chunk.tail:
                raise LinkError(
                    f"the board sent another part of {thing} than asked", self.port, "reset the board"
                )
            data += chunk.tail
        return data

    def _write(self, state: bytes, applied: int) -> None:
        if len(state) != self.welcome["state_bytes"]:
            what = f"the saved state has {len(state)} bytes, the board's {self.welcome['state_bytes']}"
            raise MismatchError(what, self.port, "resume with the model and scheme of that run")
        number, piece = OBJECTS["state"], min(_CHUNK, max(1, self.welcome["window"] - 64))
        for offset in range(0, len(state), piece):
            fields = {"object": number, "offset": offset}
            self._line.ask(Message("write", fields, state[offset : offset + piece]), "ack")
        fields = {"object": number, "crc": zlib.crc32(state), "applied": applied}
        self._line.ask(Message("commit", fields), "ack")

    def _same_boot(self, message: Message) -> None:
        if message["boot_id"] != self.welcome["boot_id"]:
            now = message if message.name == "welcome" else self._hello()
            cause, fix = reset_cause(now["reset_cause"])
            raise BoardResetError(f"the board was reset in the middle of the run by {cause}", self.port, fix)

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except FaultError as fault:
            raise explain(fault, self._elf) from None
