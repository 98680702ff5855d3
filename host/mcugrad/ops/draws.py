"""Random bits that depend on a counter alone, so that every execution of a step draws the same."""

from __future__ import annotations

import zlib

import numpy as np

from mcugrad.ir.graph import Array

WORD = 0xFFFFFFFF
STEP, INDEX = 0x9E3779B1, 0x85EBCA77  # odd: different steps and indices start differently
FIRST, SECOND = 0x85EBCA6B, 0xC2B2AE35  # the factors of MurmurHash3's finaliser


def key(seed: int, name: str) -> int:
    """What tells one tensor's numbers from another's; 32 bits."""
    return (seed ^ zlib.crc32(name.encode())) & WORD


def draw(key: int, step: int, count: int) -> Array:
    """uint32[count] of one tensor in one step: mix(mix(key ^ step * STEP) ^ i * INDEX), all modulo 2^32."""
    start = _mix(np.array([(key ^ step * STEP) & WORD], np.uint32))
    return _mix(start ^ np.arange(count, dtype=np.uint32) * np.uint32(INDEX))


def _mix(h: Array) -> Array:
    h = (h ^ (h >> np.uint32(16))) * np.uint32(FIRST)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(SECOND)
    mixed: Array = h ^ (h >> np.uint32(16))
    return mixed
