"""The chip's flash, ITCM and RAM as host buffers that Unicorn, the native hooks and Python share."""

from __future__ import annotations

import ctypes as ct
import mmap
import os

from mcugrad.boards import Board
from mcugrad.emulator import native
from mcugrad.emulator.chip import CHIPS
from mcugrad.emulator.image import Image

PAINT = b"\xa5"
ERASED = b"\xff"


class Buffer:
    """Bytes of one memory at a fixed host address."""

    def __init__(self, name: str, origin: int, size: int, flags: int) -> None:
        self.name, self.origin, self.size, self.flags = name, origin, size, flags
        self.bytes = mmap.mmap(-1, size)
        self.host = ct.addressof(ct.c_char.from_buffer(self.bytes))
        self.blocks = (native.Block * (size // 2))() if flags & native.REGION_CODE else None

    @property
    def end(self) -> int:
        return self.origin + self.size


class Memory:
    """All memories of a board. RAM without a gap between its parts is one buffer; `ram` keeps the parts."""

    def __init__(self, board: Board) -> None:
        flash, itcm = board.flash, CHIPS[board.chip].itcm
        writable = native.REGION_WRITE
        self.board = board
        self.flash = Buffer("FLASH", flash.origin, flash.size, native.REGION_CODE | native.REGION_DMA)
        self.buffers = [
            self.flash,
            Buffer("ITCM", 0, itcm, native.REGION_CODE | writable),
            *(Buffer(m.name, m.origin, m.size, writable | native.REGION_DMA * m.dma) for m in board.regions),
        ]

    def power_on(self, image: Image) -> None:
        """Flash holds the image, RAM the paint that tells touched words from untouched ones.

        Only .noinit wakes with noise, as real RAM does: two power-ons must not look like one to the host.
        """
        for buffer in self.buffers:
            buffer.bytes[:] = (ERASED if buffer is self.flash else PAINT) * buffer.size
        for start, data in image.segments:
            at = start - self.flash.origin
            self.flash.bytes[at : at + len(data)] = data
        self.store(image.noinit[0], os.urandom(image.noinit[1]))

    def forget_code(self) -> None:
        """What was measured of code in RAM: after a reset other code may stand there."""
        for buffer in self.buffers:
            if buffer.blocks is not None and buffer.flags & native.REGION_WRITE:
                ct.memset(buffer.blocks, 0, ct.sizeof(buffer.blocks))

    def find(self, addr: int, length: int = 1) -> Buffer | None:
        return next((b for b in self.buffers if b.origin <= addr and addr + length <= b.end), None)

    def read(self, addr: int, length: int) -> bytes | None:
        """Bytes of one memory; None where any of them is nobody's."""
        buffer = self.find(addr, length)
        return buffer.bytes[addr - buffer.origin : addr - buffer.origin + length] if buffer else None

    def store(self, addr: int, data: bytes) -> bool:
        """Write RAM as the core would; False where that faults."""
        buffer = self.find(addr, len(data))
        if buffer is None or not buffer.flags & native.REGION_WRITE:
            return False
        buffer.bytes[addr - buffer.origin : addr - buffer.origin + len(data)] = data
        return True

    def touched(self) -> list[dict[str, int | str]]:
        """Bytes per RAM whose word is no longer paint: a lower bound of what was ever written."""
        return [
            {"name": m.name, "origin": m.origin, "size": m.size, "touched": self._touched(m.origin, m.size)}
            for m in self.board.ram
        ]

    def _touched(self, origin: int, size: int) -> int:
        words = memoryview(self.read(origin, size) or b"").cast("I")
        return 4 * (len(words) - words.tolist().count(0xA5A5A5A5))
