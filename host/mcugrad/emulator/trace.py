"""Pieces of memory as they were at the marks (CYCCNT reads) of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from mcugrad.emulator.memory import Memory

LARGEST = 64 << 20


class Trace:
    """Keeps each span (mark from 0, address, bytes) when its mark comes; ValueError for more than LARGEST."""

    def __init__(self, spans: Iterable[tuple[int, int, int]]) -> None:
        self._due: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self.found: list[bytes | None] = []
        for mark, address, size in spans:
            self._due[mark].append((len(self.found), address, size))
            self.found.append(None)
        if sum(size for due in self._due.values() for _, _, size in due) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes to keep")
        self.marks = 0

    def at_mark(self, memory: Memory) -> None:
        for i, address, size in self._due.get(self.marks, ()):
            self.found[i] = memory.read(address, size)
        self.marks += 1
