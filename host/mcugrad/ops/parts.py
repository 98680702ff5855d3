"""Weights of which some input channels train: those lie in RAM as `part` [.., K], all in a frozen plane.

`index` s32[K] ascending: the channels that `part` holds, along the last axis. What the plane has in their
place is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcugrad.ir import Value
from mcugrad.ir.graph import Array
from mcugrad.ops import conv, work
from mcugrad.ops.op import Attrs, Fields, get, register


def merge(w: Array, part: Array, index: Array, **_: Any) -> tuple[Array]:
    """The plane with the trained channels in their places."""
    whole = np.array(w)
    whole[..., index] = part
    return (whole,)


def conv2d_part(
    x: Array, w: Array, b: Array, m: Array, part: Array, index: Array, /, **attrs: Any
) -> tuple[Array, ...]:
    return conv.conv2d(x, *merge(w, part, index), b, m, **attrs)


def conv2d_dx_part(
    da: Array, w: Array, da_scale: Array, dx_scale: Array, part: Array, index: Array, /, **attrs: Any
) -> tuple[Array, ...]:
    return conv.conv2d_dx(da, *merge(w, part, index), da_scale, dx_scale, **attrs)


def _fields(whole: str, ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
    fields = get(whole).fields(ins[:4], outs, attrs)
    return {f"conv.{k}": v for k, v in fields.items()} | {"trained": ins[-1].size}


for _name, _phase in (("merge", "forward"), ("merge_dx", "backward")):
    register(
        _name,
        outs="y:s8",
        ins="w:s8 part:s8 index:s32",
        params="merge",
        phase=_phase,
        shapes=lambda ins, a: (ins[0].shape,),
        ref=merge,
        fields=lambda i, o, a: {
            "rows": i[0].size // i[0].shape[-1],
            "last": i[0].shape[-1],
            "trained": i[2].size,
        },
    )
register(
    "conv2d_part",
    outs="y:s8 mask?:bits",
    ins="x:s8 w:s8 b:s32 m:s32 part:s8 index:s32",
    work=work.conv2d_part,
    params="conv_part",
    shapes=lambda ins, a: get("conv2d").shapes(ins[:4], a),
    ref=conv2d_part,
    fields=lambda i, o, a: _fields("conv2d", i, o, a),
    macs=get("conv2d").macs,
)
register(
    "conv2d_dx_part",
    outs="dx:s16",
    ins="da:s16 w:s8 da_scale:scale dx_scale:scale part:s8 index:s32",
    inout="dx_scale",
    params="conv_part",
    phase="backward",
    shapes=lambda ins, a: get("conv2d_dx").shapes(ins[:4], a),
    ref=conv2d_dx_part,
    work=work.conv2d_dx,
    fields=lambda i, o, a: _fields("conv2d_dx", i, o, a),
    macs=get("conv2d_dx").macs,
)
