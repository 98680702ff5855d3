"""The kernels that are counted: shapes of MCUNet, what the peers need for them, and the bar.

Peers were counted on an emulated Cortex-M7 in the same way: CMSIS-NN 99f736a, TinyEngine 47bb283 (-Ofast,
without masks forward, fp32 backward). All figures are instructions a MAC, or a unit where there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from mcugrad import ops
from mcugrad.ir import DType, Value
from mcugrad.ops.op import Op

Shape = tuple[int, ...]
Peers = tuple[float | None, ...]  # CMSIS-NN, TinyEngine, the bar
STATE = (-9, 3, 0, 12)


@dataclass(frozen=True)
class Kernel:
    """One call of one kernel: shapes of its operands, its attributes, operands that are not random.

    drop: results that it need not compute. unit: how many there are of what is counted instead of MACs.
    """

    label: str
    op: str
    ins: tuple[Shape, ...]
    attrs: Mapping[str, Any]
    values: Mapping[str, tuple[int | float, ...]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    peers: Peers = ()
    unit: int = 0

    @property
    def record(self) -> Op:
        return ops.get(self.op)

    def operands(self) -> tuple[list[Value], list[Value]]:
        """(ins, outs) with their types."""
        ins = [Value(a.name, a.dtype, s) for a, s in zip(self.record.ins, self.ins, strict=True)]
        shapes = self.record.shapes(ins, self.attrs)
        return ins, [Value(a.name, a.dtype, s) for a, s in zip(self.record.outs, shapes, strict=True)]

    def work(self) -> int:
        """MACs, or units."""
        ins, outs = self.operands()
        return self.unit or self.record.macs(ins, outs)

    def fields(self) -> dict[str, int | float]:
        ins, outs = self.operands()
        return self.record.fields(ins, outs, self.attrs)


def nbytes(v: Value) -> int:
    return (prod(v.shape) + 7) // 8 if v.dtype is DType.BITS else v.nbytes


@dataclass(frozen=True)
class Layer:
    """A convolution: input pixels on a side, channels, kernel, stride."""

    size: int
    ci: int
    co: int
    kernel: int = 1
    stride: int = 1

    @property
    def out(self) -> int:
        return (self.size + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    def __str__(self) -> str:
        kind = "1x1" if self.kernel == 1 else f"{self.kernel}x{self.kernel} s{self.stride}"
        return f"{kind} {self.size}x{self.size} {self.ci}->{self.co}"

    def forward(self, *peers: float | None, mask: bool = False) -> Kernel:
        shapes = (self.size, self.size, self.ci), (self.co, self.kernel, self.kernel, self.ci), (self.co,)
        attrs = {"stride": self.stride, "pad": self.kernel // 2, "zero_in": -3, "zero_out": 4, "shift": 0}
        drop, label = () if mask else ("mask",), f"conv {self}{' + mask' if mask else ''}"
        return Kernel(label, "conv2d", (*shapes, (self.co,)), attrs, {}, drop, peers)

    def both(self, *peers: float | None) -> list[Kernel]:
        return [self.forward(*peers), self.forward(mask=True)]

    def part(self, trained: int) -> Kernel:
        """Forward with some trained input channels, mask included."""
        shapes = (self.size, self.size, self.ci), (self.co, 1, 1, self.ci), (self.co,), (self.co,)
        attrs = {"stride": 1, "pad": 0, "zero_in": -3, "zero_out": 4, "shift": 0}
        ins = (*shapes, (self.co, 1, 1, trained), (trained,))
        values = {"index": tuple(range(0, 2 * trained, 2))}
        return Kernel(f"conv {self}, {trained} trained + mask", "conv2d_part", ins, attrs, values)

    def dx(self, *peers: float | None, trained: int = 0) -> Kernel:
        ins: tuple[Shape, ...] = ((self.out, self.out, self.co), (self.co, 1, 1, self.ci), (4,), (4,))
        attrs = {"stride": 1, "pad": 0, "in_shape": (self.size, self.size), "offset": -2}
        values: dict[str, tuple[int | float, ...]] = {"da_scale": STATE, "dx_scale": STATE}
        if not trained:
            return Kernel(f"dX {self}", "conv2d_dx", ins, attrs, values, (), peers)
        ins += ((self.co, 1, 1, trained), (trained,))
        values["index"] = tuple(range(0, 2 * trained, 2))
        return Kernel(f"dX {self}, {trained} trained", "conv2d_dx_part", ins, attrs, values, (), peers)

    def dw(self, *peers: float | None) -> Kernel:
        """Weight gradient and update."""
        w = (self.co, 1, 1, self.ci)
        ins = (w, w, (self.out, self.out, self.co), (self.co,), (4,), (1,), (self.size, self.size, self.ci))
        attrs = {"stride": 1, "pad": 0, "kernel": (1, 1), "zero_in": -3, "offset": -14, "inner": 0}
        values = {"coef": (1000.0,) * self.co, "lr": (0.01,), "da_scale": STATE}
        return Kernel(f"dW + update {self}", "conv2d_dw_sgd", ins, attrs, values, (), peers)


def _head(op: str, *ins: Shape, **rest: Any) -> Kernel:
    return Kernel(f"fc {op} 160->10", op, ins, {"zero": -3, "scale": 0.02}, **rest)


MATRIX = [
    *Layer(128, 3, 16, 3, 2).both(4.66, 1.98, 1.5),
    *Layer(64, 8, 32).both(6.69, 4.55, 2.0),
    *Layer(32, 16, 48).both(3.91, 2.77, 1.5),
    *Layer(32, 48, 16).both(2.23, 1.88, 1.2),
    *Layer(16, 24, 120).both(3.28, 2.16, 1.3),
    *Layer(16, 120, 24).both(1.78, 1.86, None),
    *Layer(8, 40, 160).both(2.57, 2.13, None),
    *Layer(8, 160, 40).both(1.69, 1.77, 1.1),
    *Layer(4, 96, 576).both(2.02, 1.80, None),
    *Layer(4, 576, 160).both(1.65, 1.62, 1.05),
    Layer(8, 48, 192).part(24),
    _head("linear", (160,), (10, 160), (10,), peers=(2.28, 3.21, 1.3)),
    _head("linear_dx", (10,), (10, 160), peers=(None, 4.72, None)),
    _head("linear_sgd", (10, 160), (10,), (10,), (160,), (1,), peers=(None, None, None)),
    Layer(8, 40, 160).dx(None, 3.57, 1.25),
    Layer(8, 160, 40).dx(None, 3.57, 1.25),
    Layer(4, 96, 576).dx(None, 3.6, 1.25),
    Layer(4, 576, 160).dx(None, 3.6, 1.25),
    Layer(16, 120, 24).dx(None, 3.64, None),
    Layer(32, 48, 16).dx(None, 3.71, None),
    Layer(8, 48, 192).dx(None, 3.52, 1.25, trained=24),
    Layer(8, 24, 240).dw(None, 4.15, 1.5),
    Layer(8, 12, 144).dw(None, 4.1, 1.5),
    Layer(4, 96, 384).dw(None, 4.15, None),
    Layer(4, 384, 96).dw(None, 4.12, None),
]
CASES = [*MATRIX]
