"""Random networks, schemes and streams: planned, checked, run as C in an arena whose dead bytes are poison.

Before each moment all bytes that no buffer holds across it are filled, after it those that were dead must be
as they were; so the C reads nothing dead and writes nothing that is not its own. Once more with red zones
between the buffers. MCUGRAD_GRAPHS: how many networks; the nightly takes 1000.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, hostlib, hostmodel, interp, paths
from mcugrad.codegen.c import emit
from mcugrad.config import Update
from mcugrad.hostmodel import HostModel
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.pipeline import Compiled, compile_model
from mcugrad.plan.arena import Span
from mcugrad.plan.check import check
from mcugrad.plan.fit import lay
from mcugrad.plan.memory import Plan, place
from mcugrad.plan.pack import pack, top
from tests.codegen.test_equality import F746, host_model
from tests.codegen.test_stream import random_network, random_streams
from tests.networks import sample

GRAPHS = int(os.environ.get("MCUGRAD_GRAPHS", "20"))
STEPS = 3
ZONE = 64  # bytes before and after each buffer
UPDATES: list[Update] = ["8.8", "int8", "fp32"]


def random_scheme(graph: Graph, rng: np.random.Generator) -> str:
    """Some biases, any share of some layers; now and then the head alone, everything, or by gradients."""
    count = sum("conv2d" in n.op for n in graph.nodes)
    layers = [i for i in range(count) if rng.random() < 0.4]
    parts = [f"{i}:{rng.choice(['1/4', '1/2', '1'])}" for i in layers]
    some = " ".join([str(rng.integers(0, count + 1)), *parts])
    return str(rng.choice(["head-only", "full", some, some, some, f"dynamic:1/4..1 {some}"]))


def compiled_for(seed: int) -> Compiled:
    """Half of them with the planner's streams, half with any."""
    rng, graph = np.random.default_rng(seed), random_network(1000 + seed)
    scheme = random_scheme(graph, rng)
    update = "8.8" if scheme.startswith("dynamic") else UPDATES[seed % len(UPDATES)]
    compiled = compile_model(graph, scheme, boards.load(F746), update=update, seed=seed, lay=lay)
    if seed % 2:
        order = compiled.plan.order
        streams = random_streams(compiled.graph, order, rng)
        return planned(compiled, place(compiled.graph, order, streams))
    return compiled


def planned(compiled: Compiled, plan: Plan) -> Compiled:
    emitted = emit(compiled.graph, check(compiled.graph, plan))
    return replace(compiled, plan=plan, emitted=emitted, manifest=emitted.manifest)


def with_red_zones(plan: Plan) -> Plan:
    """The same buffers, none of them beside another."""
    wide = []
    for b in plan.buffers:
        spans = tuple(Span(s.alive, s.start, s.end + 2 * ZONE) for s in b.spans)
        wide.append(replace(b, size=b.size + 2 * ZONE, spans=spans))
    placed = {b.values: b.offset + ZONE for b in pack(wide, 0)}
    buffers = tuple(replace(b, offset=placed[b.values]) for b in plan.buffers)
    return replace(plan, buffers=buffers, arena_bytes=top(buffers) + ZONE)


class Poison:
    """Follows a run moment by moment through the hooks of the host's C."""

    def __init__(self, plan: Plan, model: HostModel) -> None:
        self.plan, self.arena, self.wrong = plan, model.arena(), ""
        self.noise = np.random.default_rng(0).integers(0, 256, plan.arena_bytes, np.uint8)
        self.held = [self._held(moment) for moment in range(plan.timeline.moments)]
        self.now = 0
        model.on_node(lambda i: self._before(plan.timeline.ends[i] + 1))
        model.on_step(lambda k, step: self._before(plan.timeline.begins[plan.streams[k].first] + step))

    def _held(self, moment: int) -> Array:
        """Which buffer holds each byte; -1: none."""
        found = np.full(self.plan.arena_bytes, -1)
        for i, b in enumerate(self.plan.buffers):
            for span in (s for s in b.spans if s.alive >> moment & 1):
                found[b.offset + span.start : b.offset + span.end] = i
        return found

    def start(self) -> None:
        """Before a sample is taken."""
        self.arena[:], self.now, self.wrong = self.noise, 0, ""

    def _before(self, moment: int) -> None:
        """What raises here would be lost in C."""
        if moment in (self.now, 0):
            return
        if moment != self.now + 1:
            self.wrong = self.wrong or f"moment {moment} came after {self.now}"
        dead = self.held[self.now] < 0
        if not np.array_equal(self.arena[dead], self.noise[dead]):
            self.wrong = self.wrong or f"moment {self.now} wrote where nothing lives"
        if moment < len(self.held):
            kept = (self.held[self.now] == self.held[moment]) & ~dead
            self.arena[~kept] = self.noise[~kept]
        self.now = moment


def reference(compiled: Compiled) -> Iterator[tuple[Array, int, Mapping[str, Array], Mapping[str, Array]]]:
    graph, state = compiled.graph, interp.initial_state(compiled.graph)
    for step in range(STEPS):
        x, label = sample(graph, step), step % compiled.manifest["classes"]
        env, state = interp.run(graph, {"x": x} | interp.scalars(label, 0.01), state)
        yield x, label, env, state


def assert_equal_in_poison(compiled: Compiled, folder: Path) -> None:
    model = host_model(compiled, folder)
    poison = Poison(compiled.plan, model)
    for x, label, env, state in reference(compiled):
        poison.start()
        result = model.step(x, label, 0.01)
        assert not poison.wrong and poison.now == len(poison.held)
        assert np.float32(result.loss) == env["loss"][0] and result.predicted == env["predicted"][0]
        for name, value in model.state().items():
            assert np.array_equal(value, state[name]), name


@pytest.mark.parametrize("seed", range(GRAPHS))
def test_a_random_graph_runs_in_poison(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third one through the Cortex-M7's kernels, as their C twins."""
    if seed % 3 == 0:
        monkeypatch.setattr(hostmodel, "build_object", of_the_chip)
    compiled = compiled_for(seed)
    assert_equal_in_poison(compiled, tmp_path / "tight")
    zoned = planned(compiled, with_red_zones(compiled.plan))
    assert_equal_in_poison(zoned, tmp_path / "zoned")


def of_the_chip(sources: Iterable[Path], includes: Sequence[Path], *_: object) -> Path:
    return hostlib.build_object(sources, includes, paths.BUILD / "host", ["MG_FAST=1"])


def test_poison_finds_a_buffer_that_dies_early(tmp_path: Path) -> None:
    """A plan that the checker would refuse: the last moment of a saved input's life is missing."""
    compiled = compiled_for(0)
    longest = sorted(enumerate(compiled.plan.buffers), key=lambda pair: -pair[1].alive.bit_count())[:4]
    for i, b in longest:
        last = 1 << b.alive.bit_length() - 1
        short = replace(b, spans=tuple(replace(s, alive=s.alive & ~last) for s in b.spans))
        buffers = (*compiled.plan.buffers[:i], short, *compiled.plan.buffers[i + 1 :])
        wrong = replace(compiled, plan=replace(compiled.plan, buffers=buffers))
        with pytest.raises(AssertionError):
            assert_equal_in_poison(wrong, tmp_path / str(i))
