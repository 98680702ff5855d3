"""An emulated board behind a pty: to its host a USB serial port that can be pulled out and disturbed."""

from __future__ import annotations

import os
import pty
import random
import select
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcugrad.link.ports import emulated, open_port

Disturb = Callable[[bytes], bytes]
BITS = 10  # of a byte on the line
PIECE = 512


class Cable:
    """Plugged in from the start. `path` names the port as long as the object lives, like /dev/serial/by-id.

    to_board, to_host: what the line does to each piece of bytes; None: nothing.
    """

    def __init__(self, board: str, elf: Path, baud: int, path: Path) -> None:
        self.path, self.baud = path, baud
        self.to_board: Disturb | None = None
        self.to_host: Disturb | None = None
        self._board = open_port(emulated(board, elf), baud)
        self._board.timeout = 0
        self._free_at = [0.0, 0.0]
        self._pump: threading.Thread | None = None
        self.plug()

    def plug(self) -> None:
        """The port appears, and the board has power."""
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(theirs))
        self._ends, self._pulled = (ours, theirs), threading.Event()
        self._pump = threading.Thread(target=self._serve, args=(ours, self._pulled), daemon=True)
        self._pump.start()

    def unplug(self) -> None:
        """The port vanishes under whoever has it open; the board loses power and all that it learned."""
        if self._pump is None:
            return
        self._pulled.set()
        self._pump.join()
        self._pump = None
        for end in self._ends:
            os.close(end)
        self.path.unlink(missing_ok=True)
        self._board.control({"cmd": "power_cycle"})
        self._board.reset_input_buffer()

    def control(self, command: dict[str, Any]) -> dict[str, Any]:
        """Ask the model of the board, beside the line."""
        return dict(self._board.control(command))

    def quiet(self) -> None:
        """A sound line again, plugged in."""
        self.to_board = self.to_host = None
        if self._pump is None:
            self.plug()

    def close(self) -> None:
        if self._pump is not None:
            self._pulled.set()
            self._pump.join()
        self._board.close()
        self.path.unlink(missing_ok=True)

    def _serve(self, ours: int, pulled: threading.Event) -> None:
        while not pulled.is_set():
            ready, _, _ = select.select([ours, self._board.fileno()], [], [], 0.05)
            if ours in ready:
                data = self._pass(os.read(ours, PIECE), self.to_board, 0)
                self._board.write(data)
            if self._board.fileno() in ready:
                data = self._pass(self._board.read(self._board.in_waiting or 1), self.to_host, 1)
                os.write(ours, data)

    def _pass(self, data: bytes, disturb: Disturb | None, way: int) -> bytes:
        """What arrives, not before the line's rate allows."""
        now = time.monotonic()
        self._free_at[way] = max(now, self._free_at[way]) + BITS * len(data) / self.baud
        time.sleep(max(0.0, self._free_at[way] - now))
        return disturb(data) if disturb else data


class DropFrames:
    """Loses a share of the frames whole, by a seeded generator."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._random, self._rest, self.dropped = share, random.Random(seed), b"", 0

    def __call__(self, data: bytes) -> bytes:
        *whole, self._rest = (self._rest + data).split(b"\0")
        kept = [frame + b"\0" for frame in whole if self._random.random() >= self._share]
        self.dropped += len(whole) - len(kept)
        return b"".join(kept)


class Garbage:
    """Mixes random bytes into a share of the pieces."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._random, self.added = share, random.Random(seed), 0

    def __call__(self, data: bytes) -> bytes:
        if self._random.random() >= self._share:
            return data
        noise = self._random.randbytes(self._random.randint(1, 40))
        at = self._random.randrange(len(data) + 1)
        self.added += len(noise)
        return data[:at] + noise + data[at:]
