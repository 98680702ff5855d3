"""Who must be at the other end before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcugrad.errors import MismatchError
from mcugrad.link.messages import VERSION, Message


@dataclass(frozen=True)
class Expected:
    """What the firmware must be before anything is sent to it. `model_hash`: 32 hex digits."""

    board: str
    model: str
    model_hash: str
    input_bytes: int
    state_bytes: int
    arena_bytes: int
    static_bytes: int | None = None

    @classmethod
    def of(cls, board: str, manifest: Mapping[str, Any], static_bytes: int | None = None) -> Expected:
        """What a board with a compiled job's image says of itself; static_bytes None: any number."""
        m = manifest
        sizes = (m["input"]["bytes"], m["state_bytes"], m["arena_bytes"], static_bytes)
        return cls(board, m["model"], m["hash"], *sizes)


class WrongFirmwareError(MismatchError):
    """Another protocol, board or model at the other end: a matter of the link, not of numbers."""

    exit_code = 5


# The most telling of several bits first; RESET_* of firmware/board.h.
_CAUSES = {
    16: ("its watchdog, because it hung", "report it, with the last step's number"),
    4: ("a brown-out", "check its power supply and cable"),
    2: ("losing power", "check its power supply and cable"),
    32: ("a low-power mode", "report it"),
    8: ("its own software", "report it"),
    1: ("its reset pin", "leave the button alone; check its power supply"),
}


def reset_cause(bits: int) -> tuple[str, str]:
    """What reset the board, and what to do about it."""
    return next((words for bit, words in _CAUSES.items() if bits & bit), ("nobody knows what", "report it"))


def check_welcome(welcome: Message, expected: Expected, port: str) -> Message:
    """The message itself; MismatchError, before anything is trained, where the firmware is another."""
    if welcome["proto"] != VERSION:
        what = f"the board speaks protocol {welcome['proto']}, this host {VERSION}"
        raise WrongFirmwareError(what, port, "flash the firmware of this checkout")
    if welcome["board"] != expected.board:
        what = f"this is a {welcome['board']}, not a {expected.board}"
        raise WrongFirmwareError(what, port, f"give --board {welcome['board']} or another --port")
    found = welcome["model_hash"].hex()
    if found != expected.model_hash:
        what = (
            f"the firmware on the board is another model: {welcome['model_name']} {found},\n"
            f"  this job's is {expected.model} {expected.model_hash}"
        )
        raise WrongFirmwareError(
            what, port, f"flash this job's image: `pio run -e {expected.board} -t upload`"
        )
    for name in ("input_bytes", "state_bytes", "arena_bytes", "static_bytes"):
        planned = getattr(expected, name)
        if planned is not None and welcome[name] != planned:
            what = f"{name} is {welcome[name]} on the board, {planned} in the plan"
            raise MismatchError(what, port, "rebuild and flash; if it stays, report it")
    return welcome
