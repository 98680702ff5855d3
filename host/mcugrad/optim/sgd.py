"""Plain SGD with quantisation-aware scaling: finished gradients -> update nodes and their constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcugrad.ir import Builder, DType, Graph, Quant, ScaleRef
from mcugrad.ir.graph import Array
from mcugrad.ops.op import Update
from mcugrad.ops.signature import checked

UNIT = 256.0  # a trained integer counts in 1/256


def sgd(graph: Graph, updates: Sequence[Update]) -> Graph:
    """Append one update node for each finished gradient; adds the input `lr` (float32[1])."""
    b = Builder.extend(graph)
    b.input("lr", DType.F32, (1,))
    for update in updates:
        {"head": _head, "bias": _bias, "weight": _weight}[update.kind](b, update)
    return checked(b.build(**graph.outputs))


def _head(b: Builder, u: Update) -> None:
    node = u.about["node"]
    for name in u.params:
        _train(b, name)
    b.node("linear_sgd", node.layer, (), (*u.params, *u.operands, "lr"), **_pick(node.attrs, "zero", "scale"))


def _bias(b: Builder, u: Update) -> None:
    node, (bias,) = u.about["node"], u.params
    unit = b.value(node.ins[0]).quant
    assert isinstance(unit, Quant)
    coef = b.param(
        f"{node.layer}.b_coef", DType.F32, _qas(unit.scale * _scales(node.attrs), node.attrs["dead"])
    )
    frac = b.param(f"{bias}_frac", DType.S8, np.zeros(b.value(bias).shape, np.int8), trained=True)
    _train(b, bias)
    state, offset = _exponent(u)
    b.node("sgd_bias", node.layer, (), (bias, frac, *u.operands, coef, state, "lr"), offset=offset)


def _weight(b: Builder, u: Update) -> None:
    node, (w,) = u.about["node"], u.params
    coef = b.param(f"{node.layer}.w_coef", DType.F32, _qas(_scales(node.attrs), node.attrs["dead"]))
    shape = b.value(u.operands[0]).shape
    frac = b.param(f"{w}_frac", DType.S8, np.zeros(shape, np.int8), trained=True)
    _train(b, w)
    state, offset = _exponent(u)
    partial = isinstance(u.about["index"], tuple)
    ins = (w, frac, *u.operands, coef, state, "lr", *([f"{node.layer}.index"] if partial else []))
    inner = int(node.op == "depthwise_conv2d")
    b.node("sgd_partial" if partial else "sgd", node.layer, (), ins, offset=offset, inner=inner)


def _qas(unit: Array, dead: Sequence[int]) -> Array:
    """Quantisation-aware scaling: a gradient in integer units is divided by the unit's square, once for the
    gradient and once for the step; dead channels stay where they are."""
    coef = UNIT / np.square(unit.astype(np.float64))
    coef[list(dead)] = 0
    return coef.astype(np.float32)


def _scales(attrs: Mapping[str, Any]) -> Array:
    return np.asarray(attrs["w_scale"], np.float64)


def _exponent(u: Update) -> tuple[str, int]:
    scale = u.about["scale"]
    assert isinstance(scale, ScaleRef)
    return scale.state, scale.offset


def _train(b: Builder, name: str) -> None:
    b.params[name] = replace(b.params[name], trained=True)


def _pick(attrs: Mapping[str, Any], *names: str) -> dict[str, float]:
    return {k: attrs[k] for k in names}
