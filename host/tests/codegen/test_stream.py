"""Streamed == not streamed == reference, for any cut of the front, any rows a call, and any dirt in the arena."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards
from mcugrad.codegen.c import emit
from mcugrad.frontend import models
from mcugrad.hostmodel import HostModel
from mcugrad.ir import Graph
from mcugrad.pipeline import Compiled, compile_model
from mcugrad.plan.check import check
from mcugrad.plan.front import leading
from mcugrad.plan.memory import place, plan
from mcugrad.plan.stream import Stream, stream, streamable
from tests.codegen.test_equality import F746, assert_equal_steps, host_model, images
from tests.networks import Net, sample, small


def random_network(seed: int) -> Graph:
    """Odd maps, one channel or more, kernels 1 to 7, strides, residuals."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(5, 20)), int(rng.integers(3, 17)), int(rng.choice([1, 2, 3, 4])))
    net = Net(shape, seed).conv("conv0", int(rng.choice([1, 3, 8])), int(rng.choice([1, 3, 5])), 2)
    for i in range(int(rng.integers(2, 5))):
        out, wide = int(rng.choice([3, 4, 8])), int(rng.choice([4, 5, 12]))
        net.block(f"b{i}", wide, out, int(rng.choice([3, 5, 7])), int(rng.choice([1, 1, 2])))
    return net.head(3)


def random_streams(graph: Graph, order: tuple, rng: np.random.Generator) -> list[Stream]:  # type: ignore[type-arg]
    """Any cut of the front, any rows a call."""
    front, streams, first = leading(graph, order), [], 0
    while first < front:
        last = min(first + int(rng.integers(0, 9)), front - 1)
        while not all(streamable(graph, n) for n in order[first : last + 1]) and last > first:
            last -= 1
        if last > first:
            rows = {i: int(rng.choice([1, 1, 2, 3, 8])) for i in range(first, last + 1)}
            streams.append(stream(graph, order, first, last, rows))
        first = last + 1
    return streams


def streamed(compiled: Compiled, seed: int) -> Compiled:
    """The same with other streams."""
    rng = np.random.default_rng(seed)
    order = compiled.plan.order
    placed = place(compiled.graph, order, random_streams(compiled.graph, order, rng))
    emitted = emit(compiled.graph, check(compiled.graph, placed))
    return replace(compiled, plan=placed, emitted=emitted, manifest=emitted.manifest)


def poison(model: HostModel, byte: int) -> None:
    ctypes.memset(model._arena, byte, ctypes.sizeof(model._arena))


@pytest.mark.parametrize("seed", range(8))
def test_random_streams(seed: int, tmp_path: Path) -> None:
    graph = random_network(seed)
    compiled = streamed(
        compile_model(graph, ["head-only", "last-2", "bias-only"][seed % 3], boards.load(F746)), seed
    )
    assert compiled.plan.streams or seed % 3 == 2
    model = host_model(compiled, tmp_path)
    assert_equal_steps(compiled, model, 10, 0.01, lambda i: sample(graph, i))
    model.on_node(None)
    before = model.state_bytes()
    losses = []
    for byte in (0x00, 0x5A, 0xFF):
        model.restore(before)
        poison(model, byte)
        losses.append((np.float32(model.step(sample(graph, 3), 1, 0.01).loss), model.state_bytes()))
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("seed", range(60))
def test_random_streams_are_sound(seed: int) -> None:
    compiled = compile_model(random_network(100 + seed), "head-only", boards.load(F746))
    placed = streamed(compiled, seed).plan
    assert placed.bound <= placed.arena_bytes
