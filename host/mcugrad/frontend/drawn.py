"""Quantised networks of inverted residuals, weights drawn from a seed: for figures that need no training."""

from __future__ import annotations

import numpy as np

from mcugrad.frontend import emit
from mcugrad.ir import Builder, DType, Graph, Quant


class Net:
    """Grows a network layer by layer; scales keep activations lively."""

    def __init__(self, shape: tuple[int, int, int], seed: int, name: str = "random") -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder(name)
        self.at = self.b.input("x", DType.S8, shape, Quant(2 / 255, int(self.rng.choice([-128, 0, 5]))))

    @property
    def channels(self) -> int:
        return self.b.value(self.at).shape[2]

    def conv(
        self, layer: str, co: int, k: int, stride: int = 1, depthwise: bool = False, relu: bool = True
    ) -> Net:
        ci = self.channels
        co = ci if depthwise else co
        shape = (k, k, ci) if depthwise else (co, k, k, ci)
        fan = k * k * (1 if depthwise else ci)
        scale = self.rng.uniform(0.005, 0.02, co).astype(np.float32) / np.float32(fan**0.5)
        out = Quant(0.02, -128 if relu else int(self.rng.integers(-20, 20)))
        weight = self.rng.integers(-128, 128, shape).astype(np.int8)
        bias = self.rng.integers(-3000, 3000, co)
        spec = emit.Conv(layer, weight, bias, scale, stride, k // 2, out, depthwise)
        self.at = emit.conv(self.b, self.at, spec)
        return self

    def block(self, name: str, wide: int, co: int, k: int, stride: int = 1) -> Net:
        """Expand, depthwise, project; with a residual add where shapes allow. wide 0: nothing expands."""
        start = self.at
        if wide:
            self.conv(f"{name}.pw1", wide, 1)
        self.conv(f"{name}.dw", 0, k, stride, depthwise=True)
        self.conv(f"{name}.pw2", co, 1, relu=False)
        if self.b.value(start).shape == self.b.value(self.at).shape:
            self.at = emit.add(self.b, f"{name}.add", start, self.at, Quant(0.025, 3))
        return self

    def head(self, classes: int) -> Graph:
        quant = self.b.value(self.at).quant
        assert isinstance(quant, Quant)
        pooled = emit.avgpool(self.b, "pool", self.at, quant)
        features = self.b.value(pooled).size
        weight = self.rng.normal(0, 0.3, (classes, features)).astype(np.float32)
        bias = np.zeros(classes, np.float32)
        return self.b.build(logits=emit.linear(self.b, "head", pooled, weight, bias))
