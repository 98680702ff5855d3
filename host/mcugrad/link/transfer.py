"""One sample to the board in pieces: at most `window` bytes unanswered, resent from where the board is.

Two pieces fill the window, so that one arrives while the board works on the other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from mcugrad.link.frame import MAX_WIRE
from mcugrad.link.line import Line, RefusedError, SilenceError
from mcugrad.link.messages import MAX_PAYLOAD, SHAPES, Message, error_name

_PIECE = MAX_PAYLOAD - SHAPES["data"].struct.size
_OVERHEAD = MAX_WIRE - _PIECE


@dataclass(frozen=True)
class _Sent:
    seq: int
    end: int
    wire: int
    turn: int


class Transfer:
    """The state of one sample's way to the board."""

    def __init__(self, line: Line, window: int, step: int, data: bytes) -> None:
        self._line, self._window, self._step, self._data = line, window, step, data
        self._piece = max(1, min(_PIECE, window // 2 - _OVERHEAD))
        self._next = self._received = self._turn = 0
        self._open: list[_Sent] = []

    def run(self) -> None:
        """Return once the board has said that it holds all of it; any LinkError otherwise."""
        silent = 0
        while self._received < len(self._data):
            self._fill()
            silent = 0 if self._credit() else silent + 1
            if silent >= self._line.timing.tries:
                raise SilenceError("the board stopped taking the sample", self._line.name, "reset the board")

    def _fill(self) -> None:
        while self._next < len(self._data):
            piece = self._data[self._next : self._next + self._piece]
            if self._open and self._unanswered() + len(piece) + _OVERHEAD > self._window:
                return
            message = Message("data", {"step": self._step, "offset": self._next}, piece)
            seq, wire = self._line.send(message)
            self._next += len(piece)
            self._open.append(_Sent(seq, self._next, wire, self._turn))

    def _unanswered(self) -> int:
        return sum(sent.wire for sent in self._open)

    def _credit(self) -> bool:
        """Handle the next answer; after silence send again from the last point known."""
        until = time.monotonic() + self._line.timing.answer
        while (arrived := self._line.receive(until)) is not None:
            seq, message = arrived
            if message.name in ("credit", "error") and any(sent.seq == seq for sent in self._open):
                self._answered(seq, message)
                return True
        self._again(self._received)
        self._open.clear()
        return False

    def _answered(self, seq: int, message: Message) -> None:
        if message.name == "error":
            raise RefusedError(error_name(message["code"]), message["detail"], message["expected"], "data")
        # A serial line keeps order: what was sent before the question is answered or lost.
        while self._open[0].seq != seq:
            self._open.pop(0)
        sent = self._open.pop(0)
        if sent.turn != self._turn:
            return
        self._received = message["received"]
        if self._received != sent.end:
            self._again(self._received)

    def _again(self, offset: int) -> None:
        """Go back; answers to what is still under way belong to the turn before and say nothing new."""
        self._line.health.retries += 1
        self._next, self._turn = offset, self._turn + 1
