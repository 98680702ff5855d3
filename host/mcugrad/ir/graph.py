"""The intermediate representation: Graph(inputs, params, nodes, outputs), all frozen.

Values are named; a node lists the names it reads and writes. Arrays live in params only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class DType(Enum):
    """Element types; BITS is a packed mask, one bit an element, least significant bit first."""

    S8 = "s8"
    S16 = "s16"
    S32 = "s32"
    F32 = "f32"
    BITS = "bits"

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype({"s8": "i1", "s16": "i2", "s32": "i4", "f32": "f4", "bits": "u1"}[self.value])


@dataclass(frozen=True)
class Quant:
    """real = scale * (q - zero)."""

    scale: float
    zero: int


@dataclass(frozen=True)
class ScaleRef:
    """Gradient exponent: value = q * 2 ** (state.exp + offset), state = the scale state of that name."""

    state: str
    offset: int


@dataclass(frozen=True)
class Value:
    """A named tensor; activations are HWC (batch 1), conv weights OHWI, depthwise weights HWC."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    quant: Quant | ScaleRef | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in memory; a mask takes one bit an element."""
        return (self.size + 7) // 8 if self.dtype is DType.BITS else self.size * self.dtype.numpy.itemsize


@dataclass(frozen=True)
class Param:
    """A value with its initial content. `trained` ones live in RAM and are written by update nodes."""

    value: Value
    data: Array
    trained: bool = False


@dataclass(frozen=True)
class Node:
    """One operation. `layer` is the name a user knows it by; it repeats in the layer's gradient nodes.

    work: the value that is its scratch memory, whose content means nothing to anyone else; "" without.
    """

    op: str
    layer: str
    outs: tuple[str, ...]
    ins: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    work: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attrs", MappingProxyType(dict(self.attrs)))

    @property
    def written(self) -> tuple[str, ...]:
        """Its outs, then its scratch."""
        return (*self.outs, self.work) if self.work else self.outs


@dataclass(frozen=True)
class Graph:
    """A whole computation in executable order. `outputs`: role (loss, predicted...) -> value's name."""

    name: str
    inputs: tuple[Value, ...]
    params: Mapping[str, Param]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    outputs: Mapping[str, str]

    def value(self, name: str) -> Value:
        return self.params[name].value if name in self.params else self.values[name]

    def producer(self, name: str) -> Node | None:
        return next((n for n in self.nodes if name in n.outs), None)

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same graph with other nodes; values and params that nothing names any more are dropped."""
        nodes = tuple(nodes)
        used = {name for n in nodes for name in (*n.ins, *n.written)} | set(self.outputs.values())
        used |= {v.name for v in self.inputs}
        return replace(
            self,
            nodes=nodes,
            values={k: v for k, v in self.values.items() if k in used},
            params={k: p for k, p in self.params.items() if k in used},
        )

    def with_params(self, data: Mapping[str, Array]) -> Graph:
        """The same graph with other initial contents for some params."""
        new = {k: replace(p, data=data[k]) if k in data else p for k, p in self.params.items()}
        return replace(self, params=new)


class Builder:
    """Collects values, params and nodes, then freezes them into a Graph."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.values: dict[str, Value] = {}
        self.params: dict[str, Param] = {}
        self.nodes: list[Node] = []

    @classmethod
    def extend(cls, graph: Graph) -> Builder:
        new = cls(graph.name)
        new.inputs, new.values = list(graph.inputs), dict(graph.values)
        new.params, new.nodes = dict(graph.params), list(graph.nodes)
        return new

    def value(self, name: str) -> Value:
        return self.params[name].value if name in self.params else self.values[name]

    def input(self, name: str, dtype: DType, shape: tuple[int, ...], quant: Quant | None = None) -> str:
        self.inputs.append(self._add(Value(name, dtype, shape, quant)))
        return name

    def param(self, name: str, dtype: DType, data: Array, trained: bool = False) -> str:
        if name in self.values or name in self.params:
            raise ValueError(f"two values named {name}")
        data = np.ascontiguousarray(data, dtype.numpy)
        data.setflags(write=False)
        self.params[name] = Param(Value(name, dtype, data.shape), data, trained)
        return name

    def node(self, op: str, layer: str, outs: Iterable[Value], ins: Iterable[str], **attrs: Any) -> str:
        """Append a node with its output values; returns the first output's name."""
        outs = tuple(outs)
        for out in outs:
            if out.name not in self.params:
                self._add(out)
        self.nodes.append(Node(op, layer, tuple(o.name for o in outs), tuple(ins), attrs))
        return outs[0].name if outs else ""

    def build(self, **outputs: str) -> Graph:
        return Graph(
            self.name, tuple(self.inputs), dict(self.params), tuple(self.nodes), dict(self.values), outputs
        )

    def _add(self, value: Value) -> Value:
        if value.name in self.values or value.name in self.params:
            raise ValueError(f"two values named {value.name}")
        self.values[value.name] = value
        return value
