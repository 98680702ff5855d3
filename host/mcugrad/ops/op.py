"""What an operation is: one record that every stage reads. A second record of one name is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from mcugrad.errors import InternalError
from mcugrad.ir import DType, Graph, Node, ScaleRef, Value
from mcugrad.ir.graph import Array

Attrs = Mapping[str, Any]
Shapes = tuple[tuple[int, ...], ...]
Fields = dict[str, int | float]
Place = Literal["", "start", "end"]


class Gradients(Protocol):
    """What an op's gradient rule may ask for and say; passes/autodiff.py implements it."""

    def value(self, name: str) -> Value: ...

    def of(self, name: str) -> str:
        """The (summed) gradient of a value."""

    def needed(self, name: str) -> bool:
        """Whether a requested update lies upstream of this value."""

    def trained(self, param: str) -> tuple[int, ...] | bool:
        """False, True, or the indices along the last axis that train."""

    def mask(self, node: Node) -> str:
        """The clamp mask of a forward node, which from now on writes one."""

    def constant(self, name: str, dtype: DType, data: Array) -> str: ...

    def gathered(self, node: Node, x: str, index: tuple[int, ...]) -> str:
        """Some channels of a forward value, copied when it is computed."""

    def scale_state(self, name: str) -> str:
        """A new scale state for a gradient that chooses its own exponent."""

    def node(self, op: str, layer: str, out: Value, ins: Sequence[str], **attrs: Any) -> str: ...

    def add(self, name: str, gradient: str) -> None:
        """One more gradient of a value; those that meet are summed."""

    def update(self, kind: str, params: Sequence[str], operands: Sequence[str], **about: Any) -> None:
        """The gradient of trained params is complete: what the optimiser needs to know of it."""


@dataclass(frozen=True)
class Update:
    """A finished gradient: kind (weight, bias, head), the params it moves, the values it is made of."""

    kind: str
    params: tuple[str, ...]
    operands: tuple[str, ...]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Arg:
    """An operand's name and type; `scale` marks a gradient's scale state {exp, growth, saturated, bits}."""

    name: str
    dtype: DType
    scale: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Work:
    """Words of scratch memory: the least that the kernel's fast way needs, and how many save instructions;
    both are 0 where it has none. tight: fewer than the least, with which it is slower; 0 where it cannot."""

    least: int
    most: int
    tight: int = 0


@dataclass(frozen=True)
class Op:
    """An operation.

    outs, ins: operands in the C order; `inout` names the ins that it writes.
    work(ins, attrs): the scratch memory that the kernel can use. It is aligned to a word and passed after the
    outs, but never said to be one of them. None: the kernel takes no such operand.
    inplace(ins, attrs): whether the first out may lie on the first operand, which is then lost: so that both
    start, or end, at the same address; "" where it may not.
    shapes(ins, attrs): shapes of the outs. ref(*arrays, **attrs): numpy result, outs then written ins.
    fields(ins, outs, attrs): content of the C struct named by `params`; attrs have the words of `work` too.
    macs(ins, outs): multiply-accumulates. grad(g, node): appends the nodes of the gradient.
    """

    name: str
    outs: tuple[Arg, ...]
    ins: tuple[Arg, ...]
    params: str
    shapes: Callable[[Sequence[Value], Attrs], Shapes]
    ref: Callable[..., tuple[Array, ...]]
    fields: Callable[[Sequence[Value], Sequence[Value], Attrs], Fields]
    inout: tuple[str, ...] = ()
    work: Callable[[Sequence[Value], Attrs], Work] | None = None
    inplace: Callable[[Sequence[Value], Attrs], Place] = lambda ins, attrs: ""
    phase: str = "forward"
    macs: Callable[[Sequence[Value], Sequence[Value]], int] = lambda ins, outs: 0
    grad: Callable[[Gradients, Node], None] | None = None

    @property
    def kernel(self) -> str:
        """Name of the C function: mg_<op>_<type of the first result>."""
        results = [*self.outs, *(a for a in self.ins if a.name in self.inout)]
        return f"mg_{self.name}_{results[0].dtype.value}"


OPS: dict[str, Op] = {}


def register(name: str, outs: str, ins: str, inout: str = "", **rest: Any) -> Op:
    """Enter an op into the table; operands are written `y:s8 mask?:bits g:scale`."""
    if name in OPS:
        raise InternalError(f"op {name} is registered twice")
    op = Op(name, _args(outs), _args(ins), inout=tuple(inout.split()), **rest)
    OPS[name] = op
    return op


def get(name: str) -> Op:
    if name not in OPS:
        raise InternalError(f"no op named {name}; known: {', '.join(sorted(OPS))}")
    return OPS[name]


def shared(graph: Graph, node: Node) -> Place:
    """How the node's first out may lie on its first operand; "" where it may not."""
    ins = [graph.value(n) for n in node.ins]
    return get(node.op).inplace(ins, node.attrs) if ins and node.outs else ""


def scale_states(graph: Graph) -> set[str]:
    """Names of the params that are gradients' scale states."""
    return {n for node in graph.nodes for n, a in zip(node.ins, get(node.op).ins, strict=False) if a.scale}


def same_shape(ins: Sequence[Value], attrs: Attrs) -> Shapes:
    return (ins[0].shape,)


def over(ins: Sequence[Value], attrs: Attrs) -> Place:
    """Element by element: in place."""
    return "start"


def size_of_first(ins: Sequence[Value], outs: Sequence[Value], attrs: Attrs) -> Fields:
    """Content of a C struct that says only how many elements there are."""
    return {"n": ins[0].size}


def gradient_multiplier(factors: Array) -> tuple[Array, int]:
    """Real factors -> (int32 multipliers, k): factor = m / 2^31 / 2^k, the largest m in [2^30, 2^31)."""
    factors = np.asarray(factors, np.float64)
    k = -int(np.frexp(factors.max())[1])
    m = np.rint(np.ldexp(factors, k + 31))
    return np.clip(m, 0, 2**31 - 1).astype(np.int32), k


def shifted(ref: ScaleRef, k: int) -> ScaleRef:
    """The exponent after a multiplication by m / 2^31 that stands for a factor m / 2^31 / 2^k."""
    return ScaleRef(ref.state, ref.offset - k)


def _args(text: str) -> tuple[Arg, ...]:
    return tuple(_arg(*word.split(":")) for word in text.split())


def _arg(name: str, dtype: str) -> Arg:
    scale = dtype == "scale"
    return Arg(name.rstrip("?"), DType.S16 if scale else DType(dtype), scale, name.endswith("?"))
