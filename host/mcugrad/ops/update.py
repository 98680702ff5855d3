"""Updates of trained integers: value = plane + frac / 256, saturating, rounded to nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcugrad.ir import Value
from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from mcugrad.ops.op import Attrs, Fields, register

F32 = np.float32
FRACTION_BITS = 8


def _step(dw: Array, coef: Array, da_scale: Array, lr: Array, offset: int) -> Array:
    """How far to go, in 1/256 of the plane's unit; coef broadcasts against dw."""
    with np.errstate(over="ignore", invalid="ignore"):
        factor = (lr[0] * coef) * fixed.power_of_two(int(da_scale[0]) + offset)
        return fixed.round_away(dw.astype(F32) * factor)


def _move8(w: Array, frac: Array, step: Array) -> tuple[Array, Array]:
    v = np.clip(w.astype(np.int64) * 256 + frac - step, -32768, 32512)
    plane = (v + 128) >> FRACTION_BITS
    return plane.astype(np.int8), (v - plane * 256).astype(np.int8)


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
) -> tuple[Array, Array]:
    return _move8(w, frac, _step(dw, _per_channel(coef, dw, inner), da_scale, lr, offset))


def sgd_partial(
    w: Array,
    frac: Array,
    dw: Array,
    coef: Array,
    da_scale: Array,
    lr: Array,
    index: Array,
    *,
    offset: int,
    inner: int,
    **_: Any,
) -> tuple[Array, Array]:
    own = coef[index] if inner else _per_channel(coef, dw, inner)
    part, frac = _move8(w[..., index], frac, _step(dw, own, da_scale, lr, offset))
    w = w.copy()
    w[..., index] = part
    return w, frac


def sgd_bias(
    b: Array, frac: Array, db: Array, coef: Array, da_scale: Array, lr: Array, *, offset: int, **_: Any
) -> tuple[Array, Array]:
    v = frac.astype(np.int64) - _step(db, coef, da_scale, lr, offset)
    carry = (v + 128) >> FRACTION_BITS
    moved = np.clip(b + carry, -fixed.BIAS_MAX, fixed.BIAS_MAX)
    return moved.astype(np.int32), (v - carry * 256).astype(np.int8)


def _fields(ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
    """co channels; n weights each, or with `inner` n positions of co channels each; last: last axis."""
    w, inner = ins[0], attrs.get("inner", 1)
    co = w.shape[-1] if inner else w.shape[0]
    trained = ins[6].size if len(ins) > 6 else 0
    fields = {"co": co, "n": w.size // co, "inner": inner, "offset": attrs["offset"]}
    return fields | {"trained": trained, "last": w.shape[-1]}


def _register(name: str, ins: str, inout: str, ref: Any) -> None:
    register(
        name,
        outs="",
        ins=ins,
        inout=inout,
        params="sgd",
        phase="update",
        shapes=lambda ins, a: (),
        ref=ref,
        fields=_fields,
    )


_register("sgd", "w:s8 frac:s8 dw:s32 coef:f32 da_scale:scale lr:f32", "w frac", sgd)
_register(
    "sgd_partial", "w:s8 frac:s8 dw:s32 coef:f32 da_scale:scale lr:f32 index:s32", "w frac", sgd_partial
)
_register("sgd_bias", "b:s32 frac:s8 db:s32 coef:f32 da_scale:scale lr:f32", "b frac", sgd_bias)
