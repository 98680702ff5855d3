"""A float network and its observed activation ranges -> int8 Graph, weights scaled per channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcugrad.errors import UserError
from mcugrad.frontend import emit
from mcugrad.ir.graph import Array, Builder, DType, Graph, Quant

Floats = NDArray[np.float64]
INPUT = "x"
_SAMPLES = 1 << 16


@dataclass(frozen=True)
class FloatConv:
    """weight [CO,KH,KW,CI] (depthwise: CI = 1), bias [CO], batch norm folded in; act '', relu or relu6."""

    layer: str
    x: str
    weight: Floats
    bias: Floats
    stride: int
    pad: int
    depthwise: bool
    act: str = ""


@dataclass(frozen=True)
class FloatAdd:
    layer: str
    left: str
    right: str


@dataclass(frozen=True)
class FloatPool:
    layer: str
    x: str


@dataclass(frozen=True)
class FloatLinear:
    layer: str
    x: str
    weight: Floats
    bias: Floats


FloatLayer = FloatConv | FloatAdd | FloatPool | FloatLinear
Range = tuple[float, float]


@dataclass(frozen=True)
class FloatNet:
    """Layers in executable order, the classifier last; each names the layer it reads (INPUT: the image)."""

    name: str
    shape: tuple[int, int, int]
    pixels: Quant
    layers: Sequence[FloatLayer]


class Observer:
    """Collects what a layer puts out. share 1.0 keeps minimum and maximum; 0.9999 drops the rarest 0.01 %."""

    def __init__(self, share: float) -> None:
        if not 0.5 < share <= 1:
            raise UserError(
                f"share {share}", "the calibration observer", "use 1.0 (min-max) or a little less"
            )
        self.share, self.low, self.high = share, np.inf, -np.inf
        self.kept: list[Array] = []

    def see(self, values: Array) -> None:
        values = values.ravel()
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        self.kept.append(values[:: max(1, values.size // _SAMPLES)])

    def range(self) -> Range:
        if self.share == 1:
            return float(self.low), float(self.high)
        with np.errstate(invalid="ignore"):  # infinities are named by the layer, in activation_quant
            low, high = np.quantile(np.concatenate(self.kept), [1 - self.share, self.share])
        return float(low), float(high)


def fold(conv: FloatConv, gain: Floats, offset: Floats, mean: Floats, deviation: Floats) -> FloatConv:
    """The convolution with the batch norm gain * (y - mean) / deviation + offset folded in."""
    factor = gain / deviation
    weight, bias = conv.weight * factor[:, None, None, None], (conv.bias - mean) * factor + offset
    return FloatConv(conv.layer, conv.x, weight, bias, conv.stride, conv.pad, conv.depthwise)


def quantise(net: FloatNet, ranges: Mapping[str, Range]) -> Graph:
    """The int8 graph; `ranges` gives every layer but the classifier its observed (low, high)."""
    b = Builder(net.name)
    at = {INPUT: b.input(INPUT, DType.S8, net.shape, net.pixels)}
    for layer in net.layers:
        out = activation_quant(layer, ranges.get(layer.layer, (0.0, 1.0)))
        at[layer.layer] = _emit(b, layer, at, out)
    return b.build(logits=at[net.layers[-1].layer])


def activation_quant(layer: FloatLayer, observed: Range) -> Quant:
    """Scale and zero point; zero is always exact. ReLU and ReLU6 clamp by the ends of this range."""
    low, high = min(observed[0], 0.0), max(observed[1], 0.0)
    act = layer.act if isinstance(layer, FloatConv) else ""
    if act:
        low, high = 0.0, min(high, 6.0) if act == "relu6" else high
    if not np.isfinite(high - low):
        raise UserError(
            "its output is not finite", f"layer {layer.layer}", "check the network and its images"
        )
    scale = (high - low) / 255 or 1 / 255
    return Quant(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _emit(b: Builder, layer: FloatLayer, at: Mapping[str, str], out: Quant) -> str:
    if isinstance(layer, FloatConv):
        return emit.conv(b, at[layer.x], _int8(b, layer, at[layer.x], out))
    if isinstance(layer, FloatAdd):
        return emit.add(b, layer.layer, at[layer.left], at[layer.right], out)
    if isinstance(layer, FloatPool):
        return emit.avgpool(b, layer.layer, at[layer.x], out)
    return emit.linear(b, layer.layer, at[layer.x], layer.weight, layer.bias)


def _int8(b: Builder, conv: FloatConv, x: str, out: Quant) -> emit.Conv:
    source = b.value(x).quant
    assert isinstance(source, Quant)
    largest = np.abs(conv.weight).max((1, 2, 3))
    # An all-zero channel gets a tiny scale and is thereby found dead.
    w_scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    exact = w_scale.astype(np.float64)
    weight = np.clip(np.rint(conv.weight / exact[:, None, None, None]), -127, 127)
    bias = np.rint(np.clip(conv.bias / (source.scale * exact), -(2.0**62), 2.0**62))
    return emit.Conv(
        layer=conv.layer,
        weight=weight[..., 0].transpose(1, 2, 0) if conv.depthwise else weight,
        bias=bias.astype(np.int64),
        w_scale=w_scale,
        stride=conv.stride,
        pad=conv.pad,
        out=out,
        depthwise=conv.depthwise,
    )
