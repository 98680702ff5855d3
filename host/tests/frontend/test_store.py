"""Graph <-> safetensors: bit-exact both ways, and damaged files are user errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mcugrad.data import model_path
from mcugrad.errors import UserError
from mcugrad.frontend import store
from mcugrad.ir.graph import Graph
from tests.models import PAPER, paper_model


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and bool(a == b)


def assert_same(a: Graph, b: Graph) -> None:
    assert (a.name, a.inputs, a.values, a.outputs) == (b.name, b.inputs, b.values, b.outputs)
    assert list(a.params) == list(b.params) and list(a.values) == list(b.values)
    for name, param in a.params.items():
        assert b.params[name].value == param.value and same(param.data, b.params[name].data)
    for old, new in zip(a.nodes, b.nodes, strict=True):
        assert (old.op, old.layer, old.outs, old.ins) == (new.op, new.layer, new.outs, new.ins)
        assert list(old.attrs) == list(new.attrs)
        assert all(same(old.attrs[key], new.attrs[key]) for key in old.attrs)


@pytest.mark.parametrize("name", ["digits-tiny", *PAPER])
def test_round_trip(name: str, tmp_path: Path) -> None:
    graph = store.load(model_path(name)) if name == "digits-tiny" else paper_model(name)
    store.save(graph, tmp_path / "a")
    again = store.load(tmp_path / "a")
    assert_same(graph, again)
    store.save(again, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_of_a_loaded_graph_cannot_be_written() -> None:
    graph = store.load(model_path("digits-tiny"))
    with pytest.raises(ValueError, match="read-only"):
        next(iter(graph.params.values())).data[:] = 0


def metadata(*changed: Any) -> str:
    """A small file's JSON, with `changed` = (path..., new value) in it."""
    text: Any = {
        "format": store.FORMAT,
        "name": "g",
        "inputs": ["x"],
        "outputs": {"logits": "x"},
        "params": {"w": ["s8", False]},
        "values": {"x": {"dtype": "s8", "shape": [2], "quant": [0.1, 0]}},
        "nodes": [{"op": "conv2d", "layer": "c", "outs": ["x"], "ins": ["w"], "attrs": {}}],
    }
    if changed:
        *path, last, new = changed
        place = text
        for key in path:
            place = place[key]
        place[last] = new
    return json.dumps(text)


@pytest.mark.parametrize(
    "change",
    [
        ("format", "mcugrad graph 99"),
        ("inputs", ["y"]),
        ("inputs", 7),
        ("outputs", {"logits": "y"}),
        ("params", {"v": ["s8", False]}),
        ("params", "w", ["s16", False]),
        ("params", "w", ["s4", False]),
        ("values", "x", "shape", [-1]),
        ("values", "x", "quant", [1]),
        ("values", "x", "quant", [0.0, 0]),
        ("values", "x", "quant", [-0.1, 0]),
        ("values", "x", "quant", [0.1, 200]),
        ("values", "x", "quant", [float("nan"), 0]),
        ("nodes", 0, "attrs", {"s": float("inf")}),
        ("values", []),
        ("nodes", 0, "ins", ["z"]),
        ("nodes", 0, "attrs", {"a": {"tensor": "z"}}),
        ("nodes", 0, "attrs", 3),
        ("nodes", None),
    ],
)
def test_an_inconsistent_file_is_a_user_error(change: tuple[Any, ...], tmp_path: Path) -> None:
    tensors = {"param/w": np.zeros(2, np.int8)}
    save_file(tensors, tmp_path / "ok", {"mcugrad": metadata()})
    assert store.load(tmp_path / "ok").name == "g"
    save_file(tensors, tmp_path / "bad", {"mcugrad": metadata(*change)})
    with pytest.raises(UserError, match="not a graph of mcugrad"):
        store.load(tmp_path / "bad")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_named(bad: float, tmp_path: Path) -> None:
    graph = store.load(model_path("digits-tiny"))
    weights = graph.params["head.w"]
    data = weights.data.copy()
    data[1, 2] = bad
    broken = replace(graph, params={**graph.params, "head.w": replace(weights, data=data)})
    store.save(broken, tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match=f"1 of {data.size} values are not finite") as error:
        store.load(tmp_path / "bad.safetensors")
    assert error.value.where == f"{tmp_path / 'bad.safetensors'}, tensor param/head.w"


@pytest.mark.parametrize("cut", [0, 4, 100, 5000, -1])
def test_a_cut_file_is_a_user_error(cut: int, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(model_path("digits-tiny").read_bytes()[:cut])
    with pytest.raises(UserError, match="not a graph of mcugrad"):
        store.load(tmp_path / "cut")


def test_no_file_and_foreign_files(tmp_path: Path) -> None:
    save_file({"w": np.zeros(2)}, tmp_path / "foreign")
    save_file({}, tmp_path / "nested", {"mcugrad": "[" * 100000})
    for name in ("none", "foreign", "nested"):
        with pytest.raises(UserError):
            store.load(tmp_path / name)
