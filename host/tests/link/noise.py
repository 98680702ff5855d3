"""A line that damages what passes: flips, drops, duplicates, cuts, by a seeded generator."""

from __future__ import annotations

import random


class Noise:
    """Each block of bytes is hit with probability `rate`, by one kind of damage."""

    def __init__(self, rate: float = 0.0, seed: int = 0) -> None:
        self.rate, self._random = rate, random.Random(seed)
        self.hits = 0

    def __call__(self, data: bytes) -> bytes:
        if not data or self._random.random() >= self.rate:
            return data
        self.hits += 1
        kinds = (self._flip, self._drop, self._twice, self._cut, self._insert, self._lose)
        return self._random.choice(kinds)(data)

    def _flip(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]

    def _drop(self, data: bytes) -> bytes:
        return b""

    def _twice(self, data: bytes) -> bytes:
        return data + data

    def _cut(self, data: bytes) -> bytes:
        return data[: self._random.randrange(len(data))]

    def _insert(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return data[:at] + self._random.randbytes(self._random.randrange(1, 20)) + data[at:]

    def _lose(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return data[:at] + data[at + 1 :]
