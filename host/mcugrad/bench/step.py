"""A case -> compiled, built, one step on the emulated board; its figures, node by node."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad import boards, pipeline
from mcugrad.bench.cases import Case
from mcugrad.bench.parts import attributed, functions
from mcugrad.build import build, size
from mcugrad.codegen.c import emit, write
from mcugrad.errors import InternalError
from mcugrad.ir.graph import Array
from mcugrad.link.identity import Expected
from mcugrad.link.ports import emulated
from mcugrad.link.session import Session
from mcugrad.ops.kinds import kind
from mcugrad.pipeline import Compiled
from mcugrad.plan.arena import rounded
from mcugrad.plan.check import check
from mcugrad.plan.memory import place
from mcugrad.plan.pack import top
from mcugrad.plan.scratch import grown

ROOM = 4096  # bytes of scratch that a job of whole maps may have beyond them


def measure(case: Case, board: str, folder: Path) -> dict[str, Any]:
    """Compile, build and run one step; the figures as `make bench` stores them."""
    began = time.perf_counter()
    forward, target = case.load(), boards.load(board)
    compiled = pipeline.compile_model(forward, case.scheme, target, update=case.update)
    compiled = whole(compiled) if case.whole else compiled
    write(compiled.emitted, folder / "gen")
    seconds = time.perf_counter() - began
    figures = measure_compiled(compiled, board, folder)
    return figures | {"speed": {"model_to_c_seconds": round(seconds, 2), **figures["speed"]}}


def whole(compiled: Compiled) -> Compiled:
    """The same job with no map by rows, and with all the scratch that saves instructions."""
    placed = place(compiled.graph, compiled.plan.order)
    room = replace(placed, arena_bytes=placed.arena_bytes + ROOM, bound=placed.bound + ROOM)
    filled = grown(compiled.graph, room)
    most = max(filled.live)
    filled = replace(filled, arena_bytes=top(filled.buffers), bound=most, least=rounded(most))
    emitted = emit(compiled.graph, check(compiled.graph, filled))
    return replace(compiled, plan=filled, emitted=emitted, manifest=emitted.manifest)


def measure_compiled(compiled: Compiled, board: str, folder: Path) -> dict[str, Any]:
    """Build and run one step of a compiled job."""
    target = boards.load(board)
    gen = write(compiled.emitted, folder / "gen")
    elf = build(board, gen, folder)
    counted = _step(compiled, board, elf)
    space = size(elf, target)
    ram = {"static": space.static, "arena": space.arena, "stack": counted["stack"]}
    nodes = _nodes(compiled, counted["marks"])
    nodes, rests = attributed(compiled.graph, compiled.plan, nodes, counted["marks"], counted["calls"])
    return {
        "instructions": _by_phase([*nodes, *rests], "instructions", counted["total"]),
        "cycles_estimated": counted["cycles"],
        "macs": _by_phase(nodes, "macs", sum(n["macs"] for n in nodes)),
        "ram": ram | {"total": sum(ram.values())},
        "flash": space.flash,
        "nodes": nodes,
        "parts": rests,
        "speed": {"emulated_mips": counted["mips"]},
    }


def noise(shape: tuple[int, ...]) -> Array:
    """A fixed noise image from a linear congruential generator."""
    state, values = 1, np.empty(int(np.prod(shape)), np.int8)
    for i in range(values.size):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        values[i] = (state >> 16 & 0xFF) - 128
    return values.reshape(shape)


def _step(compiled: Compiled, board: str, elf: Path) -> dict[str, Any]:
    manifest = compiled.manifest
    expected = Expected.of(board, manifest)
    session = Session.connect(emulated(board, elf), boards.load(board).baud, expected, elf)
    try:
        sample = noise(tuple(manifest["input"]["shape"])).tobytes()
        label, trains = 3 % manifest["classes"], manifest["forward_nodes"] < len(manifest["nodes"])
        for name in functions(compiled.graph, compiled.plan):
            session.control({"cmd": "watch", "symbol": name})
        result = session.train(1, sample, label, 0.001) if trains else session.evaluate(sample, label)
        counters = session.control({"cmd": "counters"})
        marks = session.emulated_marks(manifest["feeds"])
        mips = _mips(session, sample)
    finally:
        session.close()
    if not marks:
        raise InternalError("the emulated board has lost time stamps")
    stack = max(result["stack_high"], counters["stack"]["bytes"])
    return {
        "total": marks[-1][0] - marks[0][0],
        "cycles": marks[-1][1] - marks[0][1],
        "stack": stack,
        "marks": marks,
        "calls": counters["calls"],
        "mips": mips,
    }


def _mips(session: Session, sample: bytes) -> int:
    """Million instructions a second of wall time, sending the sample included; the best of a few."""
    best = 0.0
    for _ in range(4):
        before, began = session.control({"cmd": "counters"})["instructions"], time.perf_counter()
        session.evaluate(sample, 0)
        seconds = time.perf_counter() - began
        best = max(best, (session.control({"cmd": "counters"})["instructions"] - before) / seconds / 1e6)
    return round(best)


def _nodes(compiled: Compiled, marks: list[tuple[int, int]]) -> list[dict[str, Any]]:
    order, described = compiled.plan.order, compiled.manifest["nodes"]
    if len(marks) != len(order) + 1:
        raise InternalError(f"{len(marks)} time stamps for {len(order)} nodes")
    return [
        {
            **about,
            "kind": kind(compiled.graph, node),
            "instructions": b[0] - a[0],
            "cycles_estimated": b[1] - a[1],
        }
        for about, node, a, b in zip(described, order, marks, marks[1:], strict=False)
    ]


def _by_phase(nodes: list[dict[str, Any]], what: str, total: int) -> dict[str, int]:
    phases = {p: sum(n[what] for n in nodes if n["phase"] == p) for p in ("backward", "update")}
    return {"forward": total - sum(phases.values()), **phases, "total": total}
