"""Print a graph as text and read it back; arrays of params stay outside, named by their hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mcugrad.errors import UserError
from mcugrad.ir.graph import Array, DType, Graph, Node, Param, Quant, ScaleRef, Value

VALUE = re.compile(r"%(?P<name>[^\s:]+):(?P<dtype>\w+)\[(?P<shape>[\d,]*)\](?:<(?P<quant>[^>]*)>)?")
NODE = re.compile(
    r'^  (?P<outs>.*?)(?: = )?(?P<op>\w+) "(?P<layer>[^"]*)" \((?P<ins>[^)]*)\) (?P<attrs>\{.*\})'
    r"(?: work (?P<work>%\S+))?$"
)


def print_graph(graph: Graph) -> str:
    """One line an input, param, node and output; parse_graph reads it back."""
    lines = [f"graph {graph.name}"]
    lines += [f"  input {_value(v)}" for v in graph.inputs]
    lines += [f"  param {_value(p.value)} {_tag(p)}" for p in graph.params.values()]
    lines += [_node(graph, n) for n in graph.nodes]
    lines += [f"  output {role} = %{name}" for role, name in graph.outputs.items()]
    return "\n".join(lines) + "\n"


def digest(data: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()[:16]


def _tag(param: Param) -> str:
    return f"{'trained' if param.trained else 'const'} {digest(param.data)}"


def _value(value: Value) -> str:
    quant = ""
    if isinstance(value.quant, Quant):
        quant = f"<{value.quant.scale!r} {value.quant.zero}>"
    elif isinstance(value.quant, ScaleRef):
        quant = f"<{value.quant.state} {value.quant.offset:+d}>"
    shape = ",".join(map(str, value.shape))
    return f"%{value.name}:{value.dtype.value}[{shape}]{quant}"


def _node(graph: Graph, node: Node) -> str:
    outs = ", ".join(_value(graph.value(n)) for n in node.outs)
    ins = ", ".join(f"%{n}" for n in node.ins)
    attrs = json.dumps({k: encode(v) for k, v in node.attrs.items()})
    work = f" work {_value(graph.value(node.work))}" if node.work else ""
    return f'  {outs}{" = " if outs else ""}{node.op} "{node.layer}" ({ins}) {attrs}{work}'


def encode(v: Any) -> Any:
    """An attribute as JSON: arrays become {"dtype": [...]} , tuples {"tuple": [...]}."""
    if isinstance(v, np.ndarray):
        return {v.dtype.str: v.tolist()}
    if isinstance(v, tuple):
        return {"tuple": [encode(x) for x in v]}
    return v.item() if isinstance(v, np.generic) else v


def decode(v: Any) -> Any:
    if isinstance(v, dict):
        ((kind, items),) = v.items()
        return tuple(map(decode, items)) if kind == "tuple" else np.array(items, np.dtype(kind))
    return v


def parse_graph(text: str, arrays: Mapping[str, Array]) -> Graph:
    """Read what print_graph wrote; `arrays` holds the params' content by name. Raises UserError."""
    inputs, params, nodes, values, outputs, name = [], {}, [], {}, {}, ""
    for number, line in enumerate(text.splitlines(), 1):
        word = line.split(maxsplit=1)[0] if line.strip() else ""
        if word == "graph":
            name = line.split(maxsplit=1)[1]
        elif word == "input":
            inputs.append(_parse_value(line, number))
            values[inputs[-1].name] = inputs[-1]
        elif word == "param":
            param = _parse_param(line, number, arrays)
            params[param.value.name] = param
        elif word == "output":
            role, target = re.findall(r"output (\S+) = %(\S+)", line)[0]
            outputs[role] = target
        elif word:
            node, written = _parse_node(line, number)
            nodes.append(node)
            values |= {v.name: v for v in written}
    return Graph(name, tuple(inputs), params, tuple(nodes), values, outputs)


def _bad(line: str, number: int) -> UserError:
    return UserError(
        f"not a graph line: {line.strip()[:80]}", f"line {number}", "see ir/text.py for the form"
    )


def _parse_value(text: str, number: int) -> Value:
    found = VALUE.search(text)
    if not found:
        raise _bad(text, number)
    shape = tuple(int(n) for n in found["shape"].split(",") if n)
    return Value(found["name"], DType(found["dtype"]), shape, _parse_quant(found["quant"]))


def _parse_quant(text: str | None) -> Quant | ScaleRef | None:
    if text is None:
        return None
    first, second = text.split()
    return (
        ScaleRef(first, int(second))
        if second[0] in "+-" and not _is_number(first)
        else Quant(float(first), int(second))
    )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+.\deE]+|inf|nan", text) is not None


def _parse_param(line: str, number: int, arrays: Mapping[str, Array]) -> Param:
    value, (kind, stamp) = _parse_value(line, number), line.split()[-2:]
    if value.name not in arrays or digest(arrays[value.name]) != stamp:
        raise UserError(
            f"the content of param {value.name} is missing or differs",
            f"line {number}",
            "pass the matching arrays",
        )
    return Param(value, arrays[value.name], kind == "trained")


def _parse_node(line: str, number: int) -> tuple[Node, list[Value]]:
    found = NODE.match(line)
    if not found:
        raise _bad(line, number)
    outs = [_parse_value(m.group(), number) for m in VALUE.finditer(found["outs"])]
    ins = tuple(n.strip().lstrip("%") for n in found["ins"].split(",") if n.strip())
    attrs = {k: decode(v) for k, v in json.loads(found["attrs"]).items()}
    work = [_parse_value(found["work"], number)] if found["work"] else []
    names = tuple(v.name for v in outs)
    node = Node(found["op"], found["layer"], names, ins, attrs, work[0].name if work else "")
    return node, [*outs, *work]
