"""Small random quantised networks of the family, for tests that need a whole graph."""

from __future__ import annotations

import numpy as np

from mcugrad.frontend import emit
from mcugrad.ir import Builder, DType, Graph, Quant
from mcugrad.ir.graph import Array


class Net:
    """Grows an inverted-residual network layer by layer; scales keep activations lively."""

    def __init__(self, shape: tuple[int, int, int], seed: int, name: str = "random") -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder(name)
        self.at = self.b.input("x", DType.S8, shape, Quant(2 / 255, int(self.rng.choice([-128, 0, 5]))))

    def conv(
        self, layer: str, co: int, k: int, stride: int = 1, depthwise: bool = False, relu: bool = True
    ) -> Net:
        ci = self.b.value(self.at).shape[2]
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
        """Expand, depthwise, project; with a residual add where shapes allow."""
        start = self.at
        self.conv(f"{name}.pw1", wide, 1).conv(f"{name}.dw", 0, k, stride, depthwise=True)
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


def small(seed: int = 0) -> Graph:
    """Odd maps, three channels, two residual blocks, one of them after a stride 2; 10 convolutions."""
    net = Net((13, 11, 3), seed).conv("conv0", 8, 3, 2)
    net.block("b0", 12, 8, 3).block("b1", 16, 7, 5, 2).block("b2", 9, 7, 7)
    return net.head(5)


def sample(graph: Graph, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, graph.inputs[0].shape).astype(np.int8)


def wide_front() -> Graph:
    net = Net((33, 31, 3), 4).conv("conv0", 8, 3, 2)
    return net.block("b0", 16, 8, 3).block("b1", 24, 8, 5, 2).block("b2", 8, 8, 3).head(4)
