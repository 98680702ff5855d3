"""Random bits that depend on a counter alone, so that every execution of a step can draw the same."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

BITS = 16
_WORD = 0xFFFFFFFF
_STEP, _INDEX = 0x9E3779B1, 0x85EBCA77  # odd: different steps and indices start differently


def draw(seed: int, step: int, name: str, count: int, device: torch.device) -> Tensor:
    """`count` numbers 0..65535 for one tensor's update in one step; int64.

    In 32-bit unsigned arithmetic: h = seed ^ crc32(name) ^ step * 0x9E3779B1, then mix(h) ^ i * 0x85EBCA77,
    mixed again; the upper half of it. mix is the finaliser of MurmurHash3.
    """
    start = torch.tensor((seed ^ zlib.crc32(name.encode()) ^ step * _STEP) & _WORD, device=device)
    index = torch.arange(count, device=device)
    return _mix(_mix(start) ^ (index * _INDEX & _WORD)) >> 16


def _mix(h: Tensor) -> Tensor:
    # int64 products wrap, but their lower 32 bits are those of unsigned arithmetic.
    h = (h ^ (h >> 16)) * 0x85EBCA6B & _WORD
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & _WORD
    return h ^ (h >> 16)
