"""Weight gradient and update in one node, so that the gradient never exists whole: two references, composed.

Operands have the places that they have in the update, with `da` where that reads the gradient, then what else
the gradient is made of. attrs["planes"]: x lies channel by channel, [CI,H,W] (passes/planes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mcugrad.ir import Value
from mcugrad.ir.graph import Array
from mcugrad.ops import conv, dynamic, update, work
from mcugrad.ops.op import Attrs, Fields, get, register


@dataclass(frozen=True)
class Pair:
    """Two ops of which the second alone reads what the first makes, and the one that does both."""

    gradient: str
    update: str

    @property
    def fused(self) -> str:
        return self.gradient.removesuffix("_dynamic") + "_" + self.update

    def ref(self, w: Array, rest: Array, da: Array, *others: Array, **attrs: Any) -> tuple[Array, ...]:
        coef, da_scale, lr, x, *active = others
        x = x.transpose(1, 2, 0) if attrs.get("planes") else x
        (dw,) = get(self.gradient).ref(da, x, *active, **attrs)
        return get(self.update).ref(w, rest, dw, coef, da_scale, lr, *active, **attrs)

    def fields(self, ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
        w, rest, da, coef, da_scale, lr, x = ins[:7]
        first = get("conv2d_dw").fields((da, as_map(x, attrs)), (w,), attrs)
        second = get(self.update).fields((w, rest, w, coef, da_scale, lr), (), attrs)
        fields = {f"conv.{k}": v for k, v in first.items()} | {f"sgd.{k}": v for k, v in second.items()}
        return fields | {"planes": attrs.get("planes", 0)}

    def macs(self, ins: Sequence[Value], outs: Sequence[Value]) -> int:
        w, _, da = ins[:3]
        return da.size * w.size // w.shape[0]


def as_map(x: Value, attrs: Attrs) -> Value:
    """As [H,W,CI]."""
    return replace(x, shape=(*x.shape[1:], x.shape[0])) if attrs.get("planes") else x


def by_planes(ins: Sequence[Value], attrs: Attrs) -> bool:
    """What conv_dw__planes.c takes, were x [H,W,CI]: quads of pixels and of output channels."""
    da, x = ins[2], ins[6]
    pixels = x.shape[0] * x.shape[1]
    one = work.pointwise(attrs["kernel"], attrs)
    return one and pixels % 4 == 0 and pixels <= work.PIXELS and da.shape[2] % 4 == 0 and len(ins) == 7


PAIRS = (
    *(Pair(conv.conv2d_dw.__name__, f"sgd{mode}") for mode in update.MODES),
    Pair(dynamic.conv2d_dw_dynamic.__name__, dynamic.sgd_dynamic.__name__),
)


def _register(pair: Pair) -> None:
    applied, has_active = get(pair.update), pair.update.endswith("dynamic")
    kept = applied.ins[1]
    ins = f"w:s8 {kept.name}:{kept.dtype.value} da:s16 coef:f32 da_scale:scale lr:f32 x:s8"
    register(
        pair.fused,
        outs="",
        ins=ins + (" active:s32" if has_active else ""),
        inout=" ".join(applied.inout),
        work=work.conv2d_dw_sgd,
        params=f"conv_{applied.params}",
        phase="update",
        shapes=lambda ins, a: (),
        ref=pair.ref,
        fields=pair.fields,
        macs=pair.macs,
    )


for _pair in PAIRS:
    _register(_pair)
