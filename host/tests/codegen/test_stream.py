"""Streamed == reference, for any cut of the front, any rows a call and any dirt in the arena."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import CDLL
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, hostlib, hostmodel
from mcugrad.codegen.c import emit, write
from mcugrad.errors import InternalError
from mcugrad.frontend import models
from mcugrad.hostmodel import HostModel
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.pipeline import Compiled, compile_model, lowered, uncalibrated
from mcugrad.plan import cuts
from mcugrad.plan import stream as plan_stream
from mcugrad.plan.check import check
from mcugrad.plan.front import leading
from mcugrad.plan.memory import Plan, place, plan
from mcugrad.plan.rows import streamable
from mcugrad.plan.schedule import orders
from mcugrad.plan.stream import FEED, Stream, stream
from tests.codegen.test_equality import F746, assert_equal_steps, host_model
from tests.codegen.test_front import assert_same_training
from tests.networks import Net, sample, wide_front

SANITIZER = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined"]


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


@pytest.mark.parametrize("seed", range(5))
def test_random_streams(seed: int, tmp_path: Path) -> None:
    graph, scheme = random_network(seed), ["head-only", "last-2"][seed % 2]
    compiled = streamed(compile_model(graph, scheme, boards.load(F746)), seed)
    assert compiled.plan.streams
    model = host_model(compiled, tmp_path)
    assert_equal_steps(compiled, model, 20, 0.01, lambda i: sample(graph, i))
    model.on_node(None)
    assert_dirt_does_not_matter(model, sample(graph, 3))


@pytest.mark.parametrize("define", ["MG_FAST=1", "MG_FAST=0"])
def test_other_kernels(define: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the Cortex-M7, as their C twins, and the portable loops, with the sanitizer."""

    def kernels(sources: Iterable[Path], includes: Sequence[Path], *_: object) -> Path:
        return hostlib.build_object(sources, includes, tmp_path, [define], SANITIZER)

    def library(sources: Iterable[Path], includes: Iterable[Path], out: Path, defines: list[str]) -> CDLL:
        return hostlib.build_library(sources, includes, out, defines, SANITIZER)

    monkeypatch.setattr(hostmodel, "build_object", kernels)
    monkeypatch.setattr(hostmodel, "build_library", library)
    over = 0
    for seed in range(4):
        graph = random_network(seed + 20)
        compiled = streamed(compile_model(graph, "head-only", boards.load(F746)), seed)
        over += sum(len(s.over) for s in compiled.plan.streams)
        model = host_model(compiled, tmp_path / str(seed))
        assert_equal_steps(compiled, model, 3, 0.01, partial(sample, graph))
    assert over


def assert_dirt_does_not_matter(model: HostModel, x: Array) -> None:
    before, found = model.state_bytes(), []
    for byte in (0x00, 0x5A, 0xFF):
        model.restore(before)
        ctypes.memset(model._arena, byte, ctypes.sizeof(model._arena))
        found.append((np.float32(model.step(x, 1, 0.01).loss), model.state_bytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("seed", range(12))
def test_random_streams_are_sound(seed: int) -> None:
    placed = streamed(compile_model(random_network(100 + seed), "head-only", boards.load(F746)), seed).plan
    assert placed.bound <= placed.arena_bytes


@pytest.fixture
def memory_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever streams cost."""
    monkeypatch.setattr(cuts, "MOST", inf)


@pytest.mark.usefixtures("memory_first")
def test_planner_streams_where_that_pays(tmp_path: Path) -> None:
    graph = wide_front()
    compiled = compile_model(graph, "head-only", boards.load(F746))
    order = compiled.plan.order
    assert compiled.plan.streams
    assert compiled.plan.arena_bytes < 0.7 * place(compiled.graph, order).arena_bytes
    assert [n for n in compiled.manifest["nodes"] if "stream" in n]
    assert_equal_steps(compiled, host_model(compiled, tmp_path), 5, 0.01, lambda i: sample(graph, i))
    assert_same_training(compiled, tmp_path, 10, 0.01, lambda i: sample(graph, i))


def test_planner_leaves_alone_what_lowers_nothing() -> None:
    assert not compile_model(models.load("digits-tiny", 10), "last-6", boards.load(F746)).plan.streams


def test_streams_add_few_instructions() -> None:
    """The lowest peak of a head alone would cost a fifth more instructions; less is saved for less."""
    graph = lowered(uncalibrated(models.load("digits-tiny", 10), "head-only"))
    placed, whole = plan(graph), place(graph, orders(graph)[0])
    costs = cuts.Cuts(graph, placed.order, leading(graph, placed.order), [])
    most = 0.03 * cuts.instructions(graph, placed.order)
    assert placed.streams and placed.arena_bytes < whole.arena_bytes
    assert 0 < costs.price(placed.streams) <= most


@pytest.mark.usefixtures("memory_first")
@pytest.mark.parametrize("change", ["drop", "to", "ins", "rows_in", "pad"])
def test_checker_finds_wrong_steps(change: str) -> None:
    compiled = compile_model(wide_front(), "head-only", boards.load(F746))
    s = compiled.plan.streams[0]
    k = next(i for i, step in enumerate(s.steps) if step.drop and step.to and step.ins)
    old = getattr(s.steps[k], change)
    step = replace(s.steps[k], **{change: tuple(i + 1 for i in old) if change == "ins" else old + 1})
    wrong = replace(s, steps=(*s.steps[:k], step, *s.steps[k + 1 :]))
    with pytest.raises(InternalError):
        check(compiled.graph, replace(compiled.plan, streams=(wrong, *compiled.plan.streams[1:])))


@pytest.mark.usefixtures("memory_first")
@pytest.mark.parametrize("change", ["drop", "to", "rows"])
def test_checker_finds_rows_of_the_sample_in_the_wrong_place(change: str) -> None:
    compiled = compile_model(wide_front(), "head-only", boards.load(F746))
    s = compiled.plan.streams[0]
    k = next(i for i, step in enumerate(s.steps) if step.drop and step.to and step.node == FEED)
    step = replace(s.steps[k], **{change: getattr(s.steps[k], change) - 1})
    wrong = replace(s, steps=(*s.steps[:k], step, *s.steps[k + 1 :]))
    with pytest.raises(InternalError):
        check(compiled.graph, replace(compiled.plan, streams=(wrong, *compiled.plan.streams[1:])))


def over_operands(rows: dict[int, int] | None = None) -> tuple[Graph, Plan]:
    """A streamed front in which depthwise maps lie in their operands' windows."""
    net = Net((33, 31, 3), 4).conv("conv0", 8, 3, 2).block("b0", 24, 8, 3).block("b1", 24, 8, 5)
    graph = lowered(uncalibrated(net.head(4), "head-only"))
    order = orders(graph)[0]
    last = next(i for i, node in enumerate(order) if not streamable(graph, node)) - 1
    placed = place(graph, order, [stream(graph, order, 0, last, rows)])
    return graph, check(graph, placed)


@pytest.mark.parametrize("rows", [{}, dict.fromkeys(range(20), 2)])
def test_depthwise_rows_lie_over_those_they_are_made_of(
    rows: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, placed = over_operands(rows)
    (s,) = placed.streams
    assert len(s.over) == 2
    assert all(placed.offsets[name] == placed.offsets[o.source] for name, o in s.over.items())
    monkeypatch.setattr(plan_stream, "overs", lambda *_: {})
    assert not over_operands(rows)[1].streams[0].over
    assert placed.bound < over_operands(rows)[1].bound


@pytest.mark.parametrize("by", [-1, 1])
def test_checker_finds_rows_over_others_that_are_still_needed(by: int) -> None:
    graph, placed = over_operands()
    (s,) = placed.streams
    made = {i: name for i in range(s.first, s.last + 1) for name in placed.order[i].outs if name in s.over}
    for k in [k for k, step in enumerate(s.steps) if step.node in made and step.to + by >= 0][:9]:
        step = replace(s.steps[k], to=s.steps[k].to + by)
        wrong = replace(s, steps=(*s.steps[:k], step, *s.steps[k + 1 :]))
        with pytest.raises(InternalError):
            check(graph, replace(placed, streams=(wrong,)))


def test_checker_finds_scratch_too_small_for_rows_over_others() -> None:
    graph, placed = over_operands()
    for work, words in placed.words.items():
        buffers = tuple(
            replace(b, size=b.size - 4, spans=(replace(b.spans[0], end=b.size - 4),))
            if work in b.values
            else b
            for b in placed.buffers
        )
        with pytest.raises(InternalError):
            check(graph, replace(placed, buffers=buffers, words=placed.words | {work: words - 1}))


@pytest.mark.parametrize("seed", range(4))
def test_the_sample_comes_in_any_pieces(seed: int, tmp_path: Path) -> None:
    """A sample broken off and begun anew leaves no trace either."""
    rng, graph = np.random.default_rng(seed), random_network(seed + 40)
    compiled = compile_model(graph, "head-only", boards.load(F746))
    order = compiled.plan.order
    streams = [stream(compiled.graph, order, 0, leading(compiled.graph, order) - 2 - seed % 2)]
    emitted = emit(compiled.graph, check(compiled.graph, place(compiled.graph, order, streams)))
    model = HostModel(write(emitted, tmp_path / "gen"), tmp_path / "model.so")
    assert model.manifest["feeds"] > 1
    x = sample(graph, seed)
    wanted, start = model.step(x, 1, 0.01).loss, model.state_bytes()
    model.restore(emitted_start := HostModel(tmp_path / "gen", tmp_path / "other.so").state_bytes())
    assert emitted_start != start
    data, broken = x.tobytes(), int(rng.integers(1, x.size))
    model.lib.mg_take(data[::-1], 0, broken)
    at = 0
    while at < len(data):
        n = min(int(rng.integers(1, 60)), len(data) - at)
        model.lib.mg_take(data[at:], at, n)
        at += n
    assert model._step(1, 0.01).loss == wanted
    assert model.state_bytes() == start


@pytest.mark.usefixtures("memory_first")
def test_checker_finds_windows_too_small() -> None:
    compiled = compile_model(wide_front(), "head-only", boards.load(F746))
    s = compiled.plan.streams[0]
    for name, rows in s.windows.items():
        wrong = replace(s, windows={**s.windows, name: rows - 1})
        with pytest.raises(InternalError):
            check(compiled.graph, replace(compiled.plan, streams=(wrong, *compiled.plan.streams[1:])))
