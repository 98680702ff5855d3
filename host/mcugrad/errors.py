"""The two ways to fail: the user can mend a UserError; an InternalError is ours.

Exit codes: 0 ok, 1 test failed, 2 usage, 3 config or model, 4 no board, 5 link, 6 memory, 7 numeric mismatch.
"""

from __future__ import annotations


class McugradError(Exception):
    """Root of every error this package raises on purpose."""

    exit_code = 1


class UserError(McugradError):
    """Something the user can mend: what happened, where, and the fix."""

    exit_code = 3

    def __init__(self, what: str, where: str, fix: str) -> None:
        super().__init__(f"{what}\n  where: {where}\n  fix:   {fix}")
        self.what, self.where, self.fix = what, where, fix


class UsageError(UserError):
    exit_code = 2


class NoBoardError(UserError):
    exit_code = 4


class LinkError(UserError):
    exit_code = 5


class OutOfMemoryError(UserError):
    exit_code = 6


class MismatchError(UserError):
    exit_code = 7


class DivergedError(UserError):
    """Training with this learning rate only makes the network worse."""


class InternalError(McugradError):
    """A broken promise of ours; please report it with the `--dump` of the stage."""

    exit_code = 70
