"""The kernels that are counted: shapes of MCUNet, what the peers need for them, and the bar.

Peers were counted on an emulated Cortex-M7 in the same way: CMSIS-NN 99f736a, TinyEngine 47bb283 (-Ofast,
without masks forward, fp32 backward). All figures are instructions a MAC, or a unit where there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from mcugrad import ops
from mcugrad.ir import DType, Value
from mcugrad.ops.op import Op

Shape = tuple[int, ...]
Peers = tuple[float | None, ...]  # CMSIS-NN, TinyEngine, the bar
STATE = (-9, 3, 0, 12)
SETTLED = (-9, 10, 0, 12)  # a depthwise gradient's after some steps on such operands: nothing is clipped


@dataclass(frozen=True)
class Kernel:
    """One call of one kernel: shapes of its operands, its attributes, operands that are not random.

    drop: results that it need not compute. unit: how many there are of what is counted instead of MACs.
    narrow: by how many bits random int16 are shifted right, to be such as gradients are steered to.
    """

    label: str
    op: str
    ins: tuple[Shape, ...]
    attrs: Mapping[str, Any]
    values: Mapping[str, tuple[int | float, ...]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    peers: Peers = ()
    unit: int = 0
    narrow: Mapping[str, int] = field(default_factory=dict)

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

    def scratch(self) -> list[Value]:
        """What the kernel works in: as much as saves instructions."""
        if not self.record.work:
            return []
        return [Value("work", DType.S32, (self.record.work(self.operands()[0], self.attrs).most,))]

    def fields(self) -> dict[str, int | float]:
        ins, outs = self.operands()
        words = sum(v.size for v in self.scratch())
        return self.record.fields(ins, outs, {**self.attrs, "work": words})


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


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution: input pixels on a side, channels, kernel, stride."""

    size: int
    c: int
    kernel: int
    stride: int = 1

    @property
    def _ends(self) -> tuple[Shape, Shape]:
        """Maps before and after."""
        out = (self.size + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1
        return (self.size, self.size, self.c), (out, out, self.c)

    @property
    def _about(self) -> dict[str, Any]:
        return {"stride": self.stride, "pad": self.kernel // 2}

    def __str__(self) -> str:
        return f"dw {self.kernel}x{self.kernel} s{self.stride} {self.size}x{self.size} {self.c}"

    def forward(self, *peers: float | None, mask: bool = False) -> Kernel:
        ins = self._ends[0], (self.kernel, self.kernel, self.c), (self.c,), (self.c,)
        attrs = self._about | {"zero_in": -3, "zero_out": 4, "shift": 0}
        drop, label = () if mask else ("mask",), f"{self}{' + mask' if mask else ''}"
        return Kernel(label, "depthwise_conv2d", ins, attrs, {}, drop, peers)

    def both(self, *peers: float | None) -> list[Kernel]:
        return [self.forward(*peers), self.forward(mask=True)]

    def dx(self, *peers: float | None) -> Kernel:
        ins: tuple[Shape, ...] = (self._ends[1], (self.kernel, self.kernel, self.c), (4,), (4,))
        attrs = self._about | {"in_shape": (self.size, self.size), "offset": -2}
        values = {"da_scale": STATE, "dx_scale": SETTLED}
        about = ins, attrs, values, (), peers, 0, {"da": 16 - 13}
        return Kernel(f"dX {self}", "depthwise_conv2d_dx", *about)

    def dw(self, *peers: float | None) -> Kernel:
        attrs = self._about | {"zero_in": -3, "kernel": (self.kernel, self.kernel)}
        return Kernel(f"dW {self}", "depthwise_conv2d_dw", self._ends[::-1], attrs, {}, (), peers)


def _each(op: str, *ins: Shape, peers: Peers = (), **rest: Any) -> Kernel:
    """Counted by elements of the first operand; STATE for every scale."""
    scales = {a.name: STATE for a in ops.get(op).ins if a.scale}
    label = f"{op} {'x'.join(map(str, ins[0]))}, an element"
    attrs, values = rest.get("attrs", {}), scales | rest.get("values", {})
    return Kernel(label, op, ins, attrs, values, (), peers, prod(ins[0]))


def _head(op: str, *ins: Shape, **rest: Any) -> Kernel:
    return Kernel(f"head, float32: {op} 160->10", op, ins, {"zero": -3, "scale": 0.02}, **rest)


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
    replace(Layer(1, 160, 10).forward(2.28, 3.21, 1.3), label="fc int8 160->10 (conv 1x1 of one pixel)"),
    _head("linear", (160,), (10, 160), (10,), peers=(None, None, None)),
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
DEPTHWISE = [
    *Depthwise(32, 48, 3).both(8.66, 6.26, 2.5),
    *Depthwise(8, 192, 3).both(),
    *Depthwise(4, 576, 3).both(7.61, 8.44, None),
    *Depthwise(64, 32, 3, 2).both(8.84, 7.47, 3.2),
    *Depthwise(8, 160, 5).both(8.50, 4.47, 2.0),
    *Depthwise(4, 384, 5).both(),
    *Depthwise(8, 160, 7).both(7.46, 3.53, 1.7),
    *Depthwise(32, 48, 7, 2).both(8.53, 4.08, 2.0),
    *Depthwise(8, 240, 7, 2).both(),
    Depthwise(8, 192, 3).dx(None, 3.39, 2.5),
    Depthwise(4, 576, 3).dx(None, 4.04, 2.5),
    Depthwise(16, 120, 3, 2).dx(None, 10.95, 3.5),
    Depthwise(4, 384, 5).dx(None, 3.01, None),
    Depthwise(8, 160, 7).dx(None, 2.46, None),
    Depthwise(8, 240, 7, 2).dx(None, 9.54, 2.5),
    Depthwise(32, 48, 7, 2).dx(None, 8.71, None),
    Depthwise(8, 192, 3).dw(None, None, 3.0),
    Depthwise(8, 160, 5).dw(None, None, 3.0),
    Depthwise(8, 160, 7).dw(None, None, 3.0),
]
_ADD = {"m1": 20000, "m2": -16000, "c": 1 << 20, "sh": 15}
_POOL = {"mult": 1 << 27, "shift": 1, "zero_in": -128, "zero_out": 5}
_RATES = {"coef": (1000.0,) * 576, "lr": (0.01,)}
ELEMENTWISE = [
    _each("add", (8, 8, 48), (8, 8, 48), attrs=_ADD, peers=(81.2, 75.0, 12)),
    _each("avgpool", (4, 4, 160), attrs=_POOL, peers=(7.0, 11.42, None)),
    _each("clamp_dx", (8, 8, 192), (8, 8, 192), (192,)),
    _each("conv2d_db", (8, 8, 192)),
    _each("scale_dx", (8, 8, 48), attrs={"m": 1 << 30}),
    _each("sum_dx", (8, 8, 48), (8, 8, 48), (4,), (4,), (4,), attrs={"offset_a": 1, "offset_b": -3}),
    _each("sgd_bias", *[(576,)] * 4, (4,), (1,), attrs={"offset": -4}, values=_RATES),
]
CASES = [*MATRIX, *DEPTHWISE, *ELEMENTWISE]
