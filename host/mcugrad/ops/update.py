"""Updates of trained integers. What becomes of a step that ends between two of them is the update mode:

8.8: value = plane + frac / 256, frac int8, steps rounded to nearest. fp32: the same with a float32 frac, and
steps that are not rounded. int8: no frac; a step goes to one of the two integers around it, at random, right
on average. All saturate. Operands have the same places in all modes: integers, frac or `steps`, gradient...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mcugrad.ir import Value
from mcugrad.ir.graph import Array
from mcugrad.ops import draws, fixed
from mcugrad.ops.op import Attrs, Fields, register

F32 = np.float32
FRACTION_BITS = 8  # of 8.8, and of a bias's step in mode int8
FINE_BITS = 16  # of a weight's step in mode int8
FINER = 1 << (FINE_BITS - FRACTION_BITS)


def _step(dw: Array, coef: Array, da_scale: Array, lr: Array, offset: int, finer: int = 1) -> Array:
    """How far to go, in 1/256 of the plane's unit or finer, float32; coef broadcasts against dw."""
    with np.errstate(over="ignore", invalid="ignore"):
        factor = (lr[0] * coef) * fixed.power_of_two(int(da_scale[0]) + offset)
        step: Array = dw.astype(F32) * (factor * F32(finer))
    return step


def _per_channel(coef: Array, dw: Array, inner: int) -> Array:
    return coef if inner else coef.reshape(-1, *[1] * (dw.ndim - 1))


def sgd(
    w: Array,
    frac: Array,
    dw: Array,
    coef: Array,
    da_scale: Array,
    lr: Array,
    *,
    offset: int,
    inner: int,
    **_: Any,
) -> tuple[Array, ...]:
    step = fixed.round_away(_step(dw, _per_channel(coef, dw, inner), da_scale, lr, offset))
    v = np.clip(w.astype(np.int64) * 256 + frac - step, -32768, 32512)
    plane = (v + 128) >> FRACTION_BITS
    return plane.astype(np.int8), (v - plane * 256).astype(np.int8)


def sgd_bias(
    b: Array, frac: Array, db: Array, coef: Array, da_scale: Array, lr: Array, *, offset: int, **_: Any
) -> tuple[Array, ...]:
    v = frac.astype(np.int64) - fixed.round_away(_step(db, coef, da_scale, lr, offset))
    carry = (v + 128) >> FRACTION_BITS
    return _bias(b + carry), (v - carry * 256).astype(np.int8)


def _bias(moved: Array) -> Array:
    return np.clip(moved, -fixed.BIAS_MAX, fixed.BIAS_MAX).astype(np.int32)


def sgd_int8(
    w: Array,
    steps: Array,
    dw: Array,
    coef: Array,
    da_scale: Array,
    lr: Array,
    *,
    offset: int,
    inner: int,
    key: int,
    **_: Any,
) -> tuple[Array, ...]:
    step = _step(dw, _per_channel(coef, dw, inner), da_scale, lr, offset, FINER)
    return (fixed.saturate(w + _whole(step, FINE_BITS, key, steps), 8).astype(np.int8),)


def sgd_bias_int8(
    b: Array,
    steps: Array,
    db: Array,
    coef: Array,
    da_scale: Array,
    lr: Array,
    *,
    offset: int,
    key: int,
    **_: Any,
) -> tuple[Array, ...]:
    return (_bias(b + _whole(_step(db, coef, da_scale, lr, offset), FRACTION_BITS, key, steps)),)


def _whole(step: Array, bits: int, key: int, steps: Array) -> Array:
    """-step / 2^bits, rounded up as often as a number drawn from 0..2^bits - 1 says."""
    drawn = draws.draw(key, int(steps[0]), step.size).astype(np.int64) >> (32 - bits)
    whole: Array = (drawn.reshape(step.shape) - fixed.round_away(step)) >> bits
    return whole


def sgd_fp32(
    w: Array,
    frac: Array,
    dw: Array,
    coef: Array,
    da_scale: Array,
    lr: Array,
    *,
    offset: int,
    inner: int,
    **_: Any,
) -> tuple[Array, ...]:
    carry, rest = _carried(frac, _step(dw, _per_channel(coef, dw, inner), da_scale, lr, offset))
    moved = w + carry
    plane = fixed.saturate(moved, 8)
    beyond = (moved != plane) | (plane == 127) & (rest > 0) | (plane == -128) & (rest < 0)
    return plane.astype(np.int8), np.where(beyond, F32(0), rest)


def sgd_bias_fp32(
    b: Array, frac: Array, db: Array, coef: Array, da_scale: Array, lr: Array, *, offset: int, **_: Any
) -> tuple[Array, ...]:
    carry, rest = _carried(frac, _step(db, coef, da_scale, lr, offset))
    return _bias(b + carry), rest


def _carried(frac: Array, step: Array) -> tuple[Array, Array]:
    """frac - step -> (whole units, what is left of it in 1/256: -128..128)."""
    v = frac - fixed.bounded(step)
    carry = fixed.round_away(v * F32(1 / 256))
    return carry, v - carry.astype(F32) * F32(256)


def _partly(whole: Callable[..., tuple[Array, ...]]) -> Callable[..., tuple[Array, ...]]:
    """The update of some entries along the last axis, which alone frac and dw hold."""

    def partial(
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
    ) -> tuple[Array, ...]:
        own = coef[index] if inner else coef
        part, *others = whole(w[..., index], rest, dw, own, da_scale, lr, inner=inner, **attrs)
        w = w.copy()
        w[..., index] = part
        return w, *others

    return partial


def count_steps(steps: Array, **_: Any) -> tuple[Array, ...]:
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


def _register_mode(suffix: str, second: str, weight: Any, bias: Any, params: str = "sgd") -> None:
    """Three ops; `second`: the operand beside the integers, which is written where it is a fraction."""
    about, written = "coef:f32 da_scale:scale lr:f32", " frac" if second.startswith("frac") else ""
    _register(f"sgd{suffix}", f"w:s8 {second} dw:s32 {about}", f"w{written}", weight, params)
    partial = f"w:s8 {second} dw:s32 {about} index:s32"
    _register(f"sgd_partial{suffix}", partial, f"w{written}", _partly(weight), params)
    _register(f"sgd_bias{suffix}", f"b:s32 {second} db:s32 {about}", f"b{written}", bias, params)


_register_mode("", "frac:s8", sgd, sgd_bias)
_register_mode("_int8", "steps:s32", sgd_int8, sgd_bias_int8, "sgd_int8")
_register_mode("_fp32", "frac:f32", sgd_fp32, sgd_bias_fp32)
_register("count_steps", "steps:s32", "steps", count_steps, "count", lambda ins, outs, a: {"n": ins[0].size})
