"""Updates of trained integers. What becomes of a step that ends between two of them is the update mode:

8.8: value = plane + frac / 256, frac int8, steps rounded to nearest. fp32: the same with a float32 frac, and
steps that are not rounded. int8: no frac; a step goes to one of the two integers around it, at random, right
on average. All saturate. A bias is a constant and an int16 that moves it. Operands have the same places in
all modes: integers, frac or `steps`, gradient...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mcugrad.ir import Value
from mcugrad.ir.graph import Array
from mcugrad.ops import draws, fixed
from mcugrad.ops.op import Attrs, Fields, register, same_shape, size_of_first

F32 = np.float32
Arrays = tuple[Array, ...]
Move = Callable[..., Arrays]  # integers, what is kept beside them, step -> both, moved
FRACTION_BITS = 8  # of 8.8, and of a bias's step in mode int8
FINE_BITS = 16  # of a weight's step in mode int8
FINER = 1 << (FINE_BITS - FRACTION_BITS)


def _step(dw: Array, coef: Array, da_scale: Array, lr: Array, offset: int, finer: int = 1) -> Array:
    """How far to go, in 1/256 of the plane's unit or finer, float32; coef broadcasts against dw."""
    with np.errstate(over="ignore", invalid="ignore"):
        factor = (lr[0] * coef) * fixed.power_of_two(int(da_scale[0]) + offset)
        step: Array = dw.astype(F32) * (factor * F32(finer))
    return step


def _weight(move: Move, finer: int = 1) -> tuple[Move, Move]:
    """An update of all weights, and of some entries along the last axis, which alone rest and dw hold."""

    def sgd(
        w: Array,
        rest: Array,
        dw: Array,
        coef: Array,
        da_scale: Array,
        lr: Array,
        *,
        offset: int,
        inner: int,
        **attrs: Any,
    ) -> Arrays:
        own = coef if inner else coef.reshape(-1, *[1] * (dw.ndim - 1))
        return move(w, rest, _step(dw, own, da_scale, lr, offset, finer), **attrs)

    def sgd_partial(
        w: Array,
        rest: Array,
        dw: Array,
        coef: Array,
        da_scale: Array,
        lr: Array,
        index: Array,
        *,
        inner: int,
        **attrs: Any,
    ) -> Arrays:
        own = coef[index] if inner else coef
        part, *others = sgd(w[..., index], rest, dw, own, da_scale, lr, inner=inner, **attrs)
        w = w.copy()
        w[..., index] = part
        return w, *others

    return sgd, sgd_partial


def _bias(move: Move) -> Move:
    def sgd_bias(
        delta: Array,
        rest: Array,
        db: Array,
        coef: Array,
        da_scale: Array,
        lr: Array,
        *,
        offset: int,
        **attrs: Any,
    ) -> Arrays:
        moved, *others = move(delta, rest, _step(db, coef, da_scale, lr, offset), **attrs)
        return fixed.saturate(moved, 16).astype(np.int16), *others

    return sgd_bias


def weight_8_8(w: Array, frac: Array, step: Array, **_: Any) -> Arrays:
    v = np.clip(w.astype(np.int64) * 256 + frac - fixed.round_away(step), -32768, 32512)
    plane = (v + 128) >> FRACTION_BITS
    return plane.astype(np.int8), (v - plane * 256).astype(np.int8)


def bias_8_8(delta: Array, frac: Array, step: Array, **_: Any) -> Arrays:
    v = frac.astype(np.int64) - fixed.round_away(step)
    carry = (v + 128) >> FRACTION_BITS
    return delta + carry, (v - carry * 256).astype(np.int8)


def weight_int8(w: Array, steps: Array, step: Array, *, key: int, **_: Any) -> Arrays:
    return (fixed.saturate(w + _whole(step, FINE_BITS, key, steps), 8).astype(np.int8),)


def bias_int8(delta: Array, steps: Array, step: Array, *, key: int, **_: Any) -> Arrays:
    return (delta + _whole(step, FRACTION_BITS, key, steps),)


def _whole(step: Array, bits: int, key: int, steps: Array) -> Array:
    """-step / 2^bits, rounded up as often as a number drawn from 0..2^bits - 1 says."""
    drawn = draws.draw(key, int(steps[0]), step.size).astype(np.int64) >> (32 - bits)
    whole: Array = (drawn.reshape(step.shape) - fixed.round_away(step)) >> bits
    return whole


def weight_fp32(w: Array, frac: Array, step: Array, **_: Any) -> Arrays:
    moved, rest = bias_fp32(w, frac, step)
    plane = fixed.saturate(moved, 8)
    beyond = (moved != plane) | (plane == 127) & (rest > 0) | (plane == -128) & (rest < 0)
    return plane.astype(np.int8), np.where(beyond, F32(0), rest)


def bias_fp32(delta: Array, frac: Array, step: Array, **_: Any) -> Arrays:
    """The fraction that is left, in 1/256, is -128..128."""
    v = frac - fixed.bounded(step)
    carry = fixed.round_away(v * F32(1 / 256))
    return delta + carry, v - carry.astype(F32) * F32(256)


def count_steps(steps: Array, **_: Any) -> Arrays:
    return ((steps.view(np.uint32) + np.uint32(1)).view(np.int32),)


def _fields(ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
    """co channels; n weights each, or with `inner` n positions of co channels each; last: last axis."""
    w, inner = ins[0], attrs.get("inner", 1)
    co = w.shape[-1] if inner else w.shape[0]
    trained = ins[6].size if len(ins) > 6 else 0
    fields = {"co": co, "n": w.size // co, "inner": inner, "offset": attrs["offset"]}
    fields |= {"trained": trained, "last": w.shape[-1]}
    return fields | {name: attrs[name] for name in ("key",) if name in attrs}


def _register(name: str, ins: str, inout: str, ref: Any, params: str = "sgd", fields: Any = _fields) -> None:
    register(
        name,
        outs="",
        ins=ins,
        inout=inout,
        params=params,
        phase="update",
        shapes=lambda ins, a: (),
        ref=ref,
        fields=fields,
    )


def _register_mode(
    suffix: str, second: str, weight: Move, bias: Move, params: str = "sgd", finer: int = 1
) -> None:
    """Three ops; `second`: the operand beside the integers, which is written where it is a fraction."""
    about, written = "coef:f32 da_scale:scale lr:f32", " frac" if second.startswith("frac") else ""
    whole, partial = _weight(weight, finer)
    _register(f"sgd{suffix}", f"w:s8 {second} dw:s32 {about}", f"w{written}", whole, params)
    _register(
        f"sgd_partial{suffix}", f"w:s8 {second} dw:s32 {about} index:s32", f"w{written}", partial, params
    )
    _register(
        f"sgd_bias{suffix}", f"delta:s16 {second} db:s32 {about}", f"delta{written}", _bias(bias), params
    )


MODES = ("", "_int8", "_fp32")  # suffixes of the ops
_register_mode(MODES[0], "frac:s8", weight_8_8, bias_8_8)
_register_mode(MODES[1], "steps:s32", weight_int8, bias_int8, "sgd_int8", FINER)
_register_mode(MODES[2], "frac:f32", weight_fp32, bias_fp32)
register(
    "bias",
    outs="b:s32",
    ins="start:s32 delta:s16",
    params="count",
    shapes=same_shape,
    ref=lambda start, delta: ((start + delta).astype(np.int32),),
    fields=size_of_first,
)
_register("count_steps", "steps:s32", "steps", count_steps, "count", size_of_first)
