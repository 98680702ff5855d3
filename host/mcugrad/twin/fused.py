"""What a board does in less memory: the functions of a table, composed; ops/fused.py, ops/parts.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from mcugrad.ops.fused import PAIRS, Pair

FUSED = tuple(pair.fused for pair in PAIRS)
Function = Callable[..., tuple[Tensor, ...]]


def fused(table: Mapping[str, Function]) -> dict[str, Function]:
    """What those ops do where `table` says what they are made of."""
    found: dict[str, Function] = {pair.fused: _both(table, pair) for pair in PAIRS}
    return found | {"merge": merge, "merge_dx": merge} | _of_parts(table)


def merge(w: Tensor, part: Tensor, index: Tensor, **_: Any) -> tuple[Tensor, ...]:
    return (w.index_copy(-1, index, part),)


def _of_parts(table: Mapping[str, Function]) -> dict[str, Function]:
    def conv2d_part(
        x: Tensor, w: Tensor, b: Tensor, m: Tensor, part: Tensor, index: Tensor, /, **attrs: Any
    ) -> tuple[Tensor, ...]:
        return table["conv2d"](x, *merge(w, part, index), b, m, **attrs)

    def conv2d_dx_part(
        da: Tensor, w: Tensor, da_scale: Tensor, dx_scale: Tensor, *trained: Tensor, **attrs: Any
    ) -> tuple[Tensor, ...]:
        return table["conv2d_dx"](da, *merge(w, *trained), da_scale, dx_scale, **attrs)

    return {f.__name__: f for f in (conv2d_part, conv2d_dx_part)}


def _both(table: Mapping[str, Function], pair: Pair) -> Function:
    gradient, update = table[pair.gradient], table[pair.update]

    def both(w: Tensor, rest: Tensor, da: Tensor, *others: Tensor, **attrs: Any) -> tuple[Tensor, ...]:
        coef, da_scale, lr, x, *active = others
        x = x.permute(0, 2, 3, 1) if attrs.get("planes") else x
        (dw,) = gradient(da, x, *active, **attrs)
        return update(w, rest, dw, coef, da_scale, lr, *active, **attrs)

    return both
