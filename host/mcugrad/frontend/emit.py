"""Quantised layers to graph nodes: the fixed-point constants of every forward op are computed here, once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcugrad.errors import UserError
from mcugrad.ir.graph import Array, Builder, DType, Quant, Value

# A pixel p becomes the int8 p - 128, for every model: real value (p - 128) * 2 / 255.
PIXELS = Quant(2 / 255, 0)
# Below this share of the layer's median scale a channel is dead: QAS would multiply its gradient by > 2**32.
DEAD = 2.0**-16
MAX_BIAS = 2**30 - 2**15  # training moves it by up to 2^15
MAX_TAPS = (2**30 - 1) // (255 * 128)


@dataclass(frozen=True)
class Conv:
    """One int8 convolution. weight [CO,KH,KW,CI], or [KH,KW,C] if depthwise; bias in s_x * w_scale."""

    layer: str
    weight: Array
    bias: Array
    w_scale: NDArray[np.float32]
    stride: int
    pad: int
    out: Quant
    depthwise: bool = False

    @property
    def kernel(self) -> tuple[int, int]:
        height, width = self.weight.shape[:2] if self.depthwise else self.weight.shape[1:3]
        return height, width


def multipliers(s_eff: Array) -> tuple[NDArray[np.int32], int]:
    """Per-channel round(s_eff * 2**(32 - shift)), and the smallest shift >= 0 that keeps them below 2**31."""
    shift = 0
    while np.max(m := np.floor(np.asarray(s_eff, np.float64) * 2.0 ** (32 - shift) + 0.5)) >= 2**31:
        shift += 1
    return m.astype(np.int32), shift


def conv(b: Builder, x: str, spec: Conv) -> str:
    """Append the convolution; returns its output's name. UserError if its sums could leave int32."""
    spec, dead = _normalise_dead(spec)
    source = b.value(x)
    s_eff = _quant(source).scale * spec.w_scale.astype(np.float64) / spec.out.scale
    mult, shift = multipliers(s_eff)
    _check_range(spec, shift)
    name = spec.layer
    ins = (x, b.param(f"{name}.w", DType.S8, spec.weight), b.param(f"{name}.b", DType.S32, spec.bias))
    return b.node(
        "depthwise_conv2d" if spec.depthwise else "conv2d",
        name,
        [Value(f"{name}.y", DType.S8, _out_shape(source, spec), spec.out)],
        (*ins, b.param(f"{name}.m", DType.S32, mult)),
        **{"stride": spec.stride, "pad": spec.pad, "shift": shift},
        **{"zero_in": _quant(source).zero, "zero_out": spec.out.zero},
        **{"w_scale": spec.w_scale, "s_eff": s_eff, "dead": dead},
        index=sum("w_scale" in n.attrs for n in b.nodes),
    )


def add(b: Builder, layer: str, left: str, right: str, out: Quant) -> str:
    """Append left + right, requantised; returns its output's name."""
    a, c = b.value(left), b.value(right)
    if a.shape != c.shape:
        raise UserError(f"cannot add {a.shape} and {c.shape}", f"layer {layer}", "make the shapes equal")
    ratios = [_quant(v).scale / out.scale for v in (a, c)]
    sh = next((s for s in range(15, 0, -1) if max(round(r * 2**s) for r in ratios) < 2**15), 0)
    if not sh:
        raise UserError("the add's operands are too coarse for its output", f"layer {layer}", "recalibrate")
    m1, m2 = (round(r * 2**sh) for r in ratios)
    constant = (out.zero << sh) - _quant(a).zero * m1 - _quant(c).zero * m2 + (1 << (sh - 1))
    return b.node(
        "add",
        layer,
        [Value(f"{layer}.y", DType.S8, a.shape, out)],
        (left, right),
        **{"m1": m1, "m2": m2, "sh": sh, "c": constant, "ratio1": ratios[0], "ratio2": ratios[1]},
    )


def avgpool(b: Builder, layer: str, x: str, out: Quant) -> str:
    """Append the global average over height and width; returns its output's name."""
    source = b.value(x)
    height, width, channels = source.shape
    ratio = _quant(source).scale / out.scale
    mult, shift = multipliers(np.array([ratio / (height * width)]))
    return b.node(
        "avgpool",
        layer,
        [Value(f"{layer}.y", DType.S8, (channels,), out)],
        (x,),
        **{"mult": int(mult[0]), "shift": shift, "ratio": ratio},
        **{"zero_in": _quant(source).zero, "zero_out": out.zero},
    )


def linear(b: Builder, layer: str, x: str, weight: Array, bias: Array) -> str:
    """Append the fp32 classifier, weight [K,F]; returns the name of its logits."""
    quant = _quant(b.value(x))
    return b.node(
        "linear",
        layer,
        [Value("logits", DType.F32, (len(bias),))],
        (x, b.param(f"{layer}.w", DType.F32, weight), b.param(f"{layer}.b", DType.F32, bias)),
        **{"zero": quant.zero, "scale": quant.scale},
    )


def fresh_head(classes: int, features: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An untrained classifier: weight [classes, features] uniform in +-1/sqrt(features), bias 0."""
    if classes < 2:
        raise UserError(f"a classifier of {classes} classes", "the dataset", "give it at least two classes")
    bound = features**-0.5
    weight = np.random.default_rng(seed).uniform(-bound, bound, (classes, features))
    return weight.astype(np.float32), np.zeros(classes, np.float32)


def _normalise_dead(spec: Conv) -> tuple[Conv, tuple[int, ...]]:
    """Give dead channels (none of their weights can move the output) the median scale and zero weights."""
    median = np.median(spec.w_scale)
    dead = (spec.w_scale < DEAD * median) | (np.abs(spec.bias.astype(np.int64)) > MAX_BIAS)
    bias = np.rint(spec.bias.astype(np.float64) * spec.w_scale / median)
    weight = np.where(dead if spec.depthwise else dead[:, None, None, None], 0, spec.weight)
    spec = replace(
        spec,
        weight=weight.astype(np.int8),
        bias=np.where(dead, bias, spec.bias).astype(np.int64),
        w_scale=_frozen(np.where(dead, median, spec.w_scale).astype(np.float32)),
    )
    return spec, tuple(int(i) for i in np.flatnonzero(dead))


def _check_range(spec: Conv, shift: int) -> None:
    taps = int(np.prod(spec.kernel)) * (1 if spec.depthwise else spec.weight.shape[3])
    if taps > MAX_TAPS:
        raise UserError(f"{taps} products a sum", f"layer {spec.layer}", f"keep them under {MAX_TAPS}")
    weights = spec.weight.astype(np.int64)
    sums = np.abs(weights).sum((0, 1)) if spec.depthwise else np.abs(weights).sum((1, 2, 3))
    bound = int(np.max(np.abs(spec.bias) + 255 * sums))
    if np.max(np.abs(spec.bias)) > MAX_BIAS or bound << shift >= 2**31:
        fix = "calibrate with data that exercises the layer, so that its output scale grows"
        raise UserError("the layer's sums do not fit in 32 bits", f"layer {spec.layer}", fix)


def _out_shape(x: Value, spec: Conv) -> tuple[int, int, int]:
    height, width, channels = x.shape
    expected = spec.weight.shape[-1]
    if channels != expected:
        raise UserError(
            f"{channels} input channels, its weights expect {expected}",
            f"layer {spec.layer}",
            "check the order of the layers",
        )
    rows, columns = (
        (n + 2 * spec.pad - k) // spec.stride + 1 for n, k in zip((height, width), spec.kernel, strict=True)
    )
    if rows < 1 or columns < 1:
        raise UserError(f"{height}x{width} is too small", f"input of {spec.layer}", "use larger images")
    return rows, columns, channels if spec.depthwise else spec.weight.shape[0]


def _quant(value: Value) -> Quant:
    assert isinstance(value.quant, Quant)
    return value.quant


def _frozen(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array.setflags(write=False)
    return array
