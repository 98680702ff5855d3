"""The random bits of ops/draws.py in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from mcugrad.ops.draws import FIRST, INDEX, SECOND, STEP, WORD


def draw(key: int, step: Tensor, count: int) -> Tensor:
    """`count` numbers of 32 bits for one tensor's update in one step, an integer [1]; int64."""
    start = (key ^ step.long() * STEP) & WORD
    index = torch.arange(count, device=step.device)
    return _mix(_mix(start) ^ (index * INDEX & WORD))


def _mix(h: Tensor) -> Tensor:
    # int64 products wrap, but their lower 32 bits are those of unsigned arithmetic.
    h = (h ^ (h >> 16)) * FIRST & WORD
    h = (h ^ (h >> 13)) * SECOND & WORD
    return h ^ (h >> 16)
