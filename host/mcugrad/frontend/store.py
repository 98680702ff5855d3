"""An int8 forward graph <-> one safetensors file: tensors as they are, everything else as JSON metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mcugrad.errors import InternalError, UserError
from mcugrad.ir.graph import Array, DType, Graph, Node, Param, Quant, Value

FORMAT = "mcugrad graph 1"
_KEY = "mcugrad"
_DAMAGE = (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError)


def save(graph: Graph, path: Path) -> None:
    """Write the graph; loading it gives the same graph bit for bit. The bytes depend on the graph alone."""
    tensors = {f"param/{name}": np.asarray(p.data) for name, p in graph.params.items()}
    text = {
        "format": FORMAT,
        "name": graph.name,
        "inputs": [v.name for v in graph.inputs],
        "outputs": dict(graph.outputs),
        "params": {name: [p.value.dtype.value, p.trained] for name, p in graph.params.items()},
        "values": {name: _value_text(v) for name, v in graph.values.items()},
        "nodes": [_node_text(i, node, tensors) for i, node in enumerate(graph.nodes)],
    }
    metadata = {_KEY: json.dumps(text, separators=(",", ":"))}
    save_file({k: np.ascontiguousarray(t) for k, t in tensors.items()}, path, metadata)


def load(path: Path) -> Graph:
    """Read what `save` wrote; UserError if the file is damaged, incomplete or of another kind.

    It names a tensor that holds NaN or infinity.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        text = json.loads(metadata[_KEY], parse_constant=_no_number)
        _check_finite(tensors, path)
        graph = _graph(text, tensors)
    except _DAMAGE as error:
        fix = "write it again with mcugrad's export"
        raise UserError(f"not a graph of mcugrad ({error!r:.120})", str(path), fix) from None
    return graph


def _check_finite(tensors: Mapping[str, Array], path: Path) -> None:
    for name, data in tensors.items():
        if data.dtype.kind == "f" and (bad := int((~np.isfinite(data)).sum())):
            what = f"{bad} of {data.size} values are not finite"
            raise UserError(what, f"{path}, tensor {name}", "train again, or load weights from before")


def _no_number(text: str) -> float:
    raise ValueError(f"a scale or attribute is {text}")


def _graph(text: Mapping[str, Any], tensors: Mapping[str, Array]) -> Graph:
    if text["format"] != FORMAT:
        raise ValueError(f"format {text['format']!r}, not {FORMAT!r}")
    params = {name: _param(name, about, tensors) for name, about in text["params"].items()}
    values = {name: _value(name, about) for name, about in text["values"].items()}
    nodes = tuple(_node(about, tensors) for about in text["nodes"])
    outputs = {str(role): str(name) for role, name in text["outputs"].items()}
    known = {**values, **{name: p.value for name, p in params.items()}}
    for name in [n for node in nodes for n in (*node.ins, *node.outs)] + list(outputs.values()):
        if name not in known:
            raise KeyError(f"value {name}")
    return Graph(str(text["name"]), tuple(values[n] for n in text["inputs"]), params, nodes, values, outputs)


def _param(name: str, about: tuple[str, bool], tensors: Mapping[str, Array]) -> Param:
    dtype, data = DType(about[0]), tensors[f"param/{name}"]
    if data.dtype != dtype.numpy:
        raise TypeError(f"param {name} is {data.dtype}, not {dtype.value}")
    return Param(Value(name, dtype, data.shape), _frozen(data), bool(about[1]))


def _value_text(value: Value) -> dict[str, Any]:
    if value.quant is not None and not isinstance(value.quant, Quant):
        raise InternalError(f"{value.name}: only forward graphs are stored")
    quant = [value.quant.scale, value.quant.zero] if value.quant else None
    return {"dtype": value.dtype.value, "shape": value.shape, "quant": quant}


def _value(name: str, about: Mapping[str, Any]) -> Value:
    quant = _quant(name, *about["quant"]) if about["quant"] else None
    shape = tuple(int(n) for n in about["shape"])
    if any(n < 1 for n in shape):
        raise ValueError(f"value {name} has shape {shape}")
    return Value(name, DType(about["dtype"]), shape, quant)


def _quant(name: str, scale: float, zero: int) -> Quant:
    if not 0 < scale < math.inf or not -128 <= zero <= 127:
        raise ValueError(f"value {name} has scale {scale}, zero point {zero}")
    return Quant(float(scale), int(zero))


def _node_text(index: int, node: Node, tensors: dict[str, Array]) -> dict[str, Any]:
    attrs: dict[str, Any] = {}
    for key, attr in node.attrs.items():
        if isinstance(attr, np.ndarray):
            tensors[f"node/{index}/{key}"] = attr
            attr = {"tensor": f"node/{index}/{key}"}
        attrs[key] = attr
    return {"op": node.op, "layer": node.layer, "outs": node.outs, "ins": node.ins, "attrs": attrs}


def _node(about: Mapping[str, Any], tensors: Mapping[str, Array]) -> Node:
    attrs = {key: _attr(attr, tensors) for key, attr in about["attrs"].items()}
    outs, ins = (tuple(str(n) for n in about[side]) for side in ("outs", "ins"))
    return Node(str(about["op"]), str(about["layer"]), outs, ins, attrs)


def _attr(attr: Any, tensors: Mapping[str, Array]) -> Any:
    if isinstance(attr, dict):
        return _frozen(tensors[attr["tensor"]])
    return tuple(attr) if isinstance(attr, list) else attr


def _frozen(array: Array) -> Array:
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array
