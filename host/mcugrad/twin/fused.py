"""Weight gradient and update in one node: the two functions of a table, composed; ops/fused.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from mcugrad.ops.fused import PAIRS, WORK, Pair

FUSED = tuple(pair.fused for pair in PAIRS)
Function = Callable[..., tuple[Tensor, ...]]


def fused(table: Mapping[str, Function]) -> dict[str, Function]:
    """What the fused ops do where `table` says what their parts do."""
    return {pair.fused: _both(table, pair) for pair in PAIRS}


def _both(table: Mapping[str, Function], pair: Pair) -> Function:
    gradient, update = table[pair.gradient], table[pair.update]

    def both(w: Tensor, rest: Tensor, da: Tensor, *others: Tensor, **attrs: Any) -> tuple[Tensor, ...]:
        coef, da_scale, lr, x, *active = others
        (dw,) = gradient(da, x, *active, **attrs)
        return w.new_zeros(1, WORK), *update(w, rest, dw, coef, da_scale, lr, *active, **attrs)

    return both
