"""Plain SGD with quantisation-aware scaling: finished gradients -> update nodes and their params."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mcugrad.config import Update as Mode
from mcugrad.ir import Builder, DType, Graph, Quant, ScaleRef, Value
from mcugrad.ir.graph import Array
from mcugrad.ops import draws
from mcugrad.ops.op import Update
from mcugrad.ops.signature import checked

UNIT = 256.0  # a trained integer counts in 1/256
STEPS = "steps"  # the param that counts them, where random numbers depend on it
_SUFFIX: Mapping[Mode, str] = {"8.8": "", "int8": "_int8", "fp32": "_fp32"}  # of the update ops


def sgd(graph: Graph, updates: Sequence[Update], mode: Mode = "8.8", seed: int = 0) -> Graph:
    """Append one update node for each finished gradient; adds the input `lr` (float32[1]).

    mode: what a trained integer keeps besides itself, see ops/update.py; seed: of int8's random rounding.
    """
    b = Builder.extend(graph)
    b.input("lr", DType.F32, (1,))
    for update in updates:
        if update.kind == "head":
            _head(b, update)
        else:
            {"bias": _bias, "weight": _weight}[update.kind](b, update, mode, seed)
    if STEPS in b.params:
        b.node("count_steps", STEPS, (), (STEPS,))
    return checked(b.build(**graph.outputs))


def biases(graph: Graph, state: Mapping[str, Array]) -> dict[str, Array]:
    """Where a state has moved the trained biases."""
    moved = [n for n in graph.nodes if n.op == "bias"]
    return {n.ins[0]: graph.params[n.ins[0]].data + state[n.ins[1]] for n in moved}


def _head(b: Builder, u: Update) -> None:
    node = u.about["node"]
    for name in u.params:
        _train(b, name)
    b.node("linear_sgd", node.layer, (), (*u.params, *u.operands, "lr"), **_pick(node.attrs, "zero", "scale"))


def _bias(b: Builder, u: Update, mode: Mode, seed: int) -> None:
    """The bias becomes a constant and an int16 that moves it, added right before the convolution."""
    node, (start,) = u.about["node"], u.params
    delta = b.param(f"{start}_delta", DType.S16, np.zeros(b.value(start).shape), trained=True)
    at = next(i for i, n in enumerate(b.nodes) if n.outs and n.outs[0] == node.outs[0])
    now = Value(f"{start}_now", DType.S32, b.value(start).shape)
    b.node("bias", node.layer, [now], (start, delta))
    conv = b.nodes[at]
    moved = replace(conv, ins=tuple(now.name if name == start else name for name in conv.ins))
    b.nodes[at : at + 1] = [b.nodes.pop(), moved]
    unit = b.value(node.ins[0]).quant
    assert isinstance(unit, Quant)
    coef = b.param(
        f"{node.layer}.b_coef", DType.F32, _qas(unit.scale * _scales(node.attrs), node.attrs["dead"])
    )
    _move(b, "sgd_bias", u, delta, coef, mode, seed)


def _weight(b: Builder, u: Update, mode: Mode, seed: int) -> None:
    node = u.about["node"]
    coef = b.param(f"{node.layer}.w_coef", DType.F32, _qas(_scales(node.attrs), node.attrs["dead"]))
    inner = int(node.op == "depthwise_conv2d")
    if isinstance(u.about["index"], tuple):
        _move(b, "sgd_partial", u, u.params[0], coef, mode, seed, f"{node.layer}.index", inner=inner)
    else:
        _move(b, "sgd", u, u.params[0], coef, mode, seed, inner=inner)


def _move(
    b: Builder, op: str, u: Update, moves: str, coef: str, mode: Mode, seed: int, *index: str, **attrs: int
) -> None:
    kept = _kept(b, u, mode)
    _train(b, moves)
    state, offset = _exponent(u)
    if mode == "int8":
        attrs["key"] = draws.key(seed, u.params[0])
    ins = (moves, kept, *u.operands, coef, state, "lr", *index)
    b.node(op + _SUFFIX[mode], u.about["node"].layer, (), ins, offset=offset, **attrs)


def _kept(b: Builder, u: Update, mode: Mode) -> str:
    """The operand beside the integers: their fraction, or the number of the step."""
    if mode == "int8":
        return STEPS if STEPS in b.params else b.param(STEPS, DType.S32, np.zeros(1), trained=True)
    zeros = np.zeros(b.value(u.operands[0]).shape)
    return b.param(f"{u.params[0]}_frac", DType.F32 if mode == "fp32" else DType.S8, zeros, trained=True)


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
