"""C names and literals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mcugrad.ir import DType, Graph
from mcugrad.ir.graph import Array
from mcugrad.ops.op import scale_states
from mcugrad.plan.arena import in_arena

C_TYPES = {
    DType.S8: "int8_t",
    DType.S16: "int16_t",
    DType.S32: "int32_t",
    DType.F32: "float",
    DType.BITS: "uint8_t",
}
KEYWORDS = frozenset(
    "auto break case char const do double else float for if int long return static void".split()
)
COLUMNS = 100


def identifier(name: str) -> str:
    """A value's name as a C identifier."""
    word = re.sub(r"\W", "_", name)
    return f"n{word}" if word[0].isdigit() or word in KEYWORDS else word


def unique(names: Iterable[str]) -> dict[str, str]:
    """C identifiers of all names, numbered where two would fall together."""
    taken: dict[str, str] = {}
    for name in names:
        word, n = identifier(name), 2
        while word in taken.values():
            word, n = f"{identifier(name)}_{n}", n + 1
        taken[name] = word
    return taken


def literal(v: Any) -> str:
    """An exact C literal: integers in decimal, floats in hexadecimal."""
    if isinstance(v, (float, np.floating)):
        return f"{float(v).hex()}f"
    return "INT32_MIN" if int(v) == -(2**31) else str(int(v))


def initialiser(data: Array) -> str:
    """The braces of an array, wrapped."""
    words = [literal(v) for v in data.reshape(-1)]
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) + 2 > COLUMNS:
            lines.append(line)
            line = ""
        line += f"{word}, " if line else f"    {word}, "
    return "{\n" + "\n".join(x.rstrip() for x in [*lines, line]) + "\n}"


def operand(graph: Graph, c: Mapping[str, str], name: str) -> str:
    """How a call names a value: a pointer into the state, constants, the arena or the caller's memory."""
    roles = {v: k for k, v in graph.outputs.items()}
    if name in graph.params:
        p = graph.params[name]
        scale = p.trained and name in scale_states(graph)
        return f"{'&' if scale else ''}mg_state.{c[name]}" if p.trained else c[name]
    if in_arena(graph, name):
        return c[name]
    return f"&result->{roles[name]}" if name in roles else ("label" if name == "label" else f"&{name}")
