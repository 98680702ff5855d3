"""Exact figures of one training step on the emulated board, beside the peers': instructions, RAM, flash.

Instructions are those of all nodes, with what runs on rows of the sample while they come in; the peers' were
counted from a step's entry to its return.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mcugrad import baselines, boards, data, pipeline
from mcugrad.build import build, size
from mcugrad.codegen.c import write
from mcugrad.config import Update
from mcugrad.errors import InternalError, UserError
from mcugrad.ir.graph import Array
from mcugrad.link.identity import Expected
from mcugrad.link.ports import emulated
from mcugrad.link.session import Session
from mcugrad.passes.schemes import INFERENCE
from mcugrad.paths import BUILD, ROOT

BASELINES = ROOT / "host" / "tests" / "golden" / "bench.json"

# Measured on an emulated Cortex-M7 by the same count: TinyEngine 47bb283, examples/tiny_training.py, -Ofast.
PEERS: dict[str, dict[str, dict[str, Any]]] = {
    "mcunet-5fps 49kb": {
        "TinyEngine": {
            "instructions": {"forward": 65_035_991, "backward+update": 41_335_241, "total": 106_371_232},
            "ram": {"static": 231_608, "stack": 21_784, "total": 253_392},
            "flash": 663_676,
        }
    }
}


@dataclass(frozen=True)
class Case:
    """One model, scheme and update mode."""

    model: str
    scheme: str
    update: Update = "8.8"

    @property
    def key(self) -> str:
        return f"{self.model} {self.scheme}" + (f" {self.update}" if self.update != "8.8" else "")

    def present(self) -> bool:
        try:
            data.model_path(self.model)
        except UserError:
            return False
        return True


DEFAULT = Case("digits-tiny", "10kb")
MCUNET = [Case("mcunet-5fps", scheme) for scheme in ("49kb", "74kb", "99kb", INFERENCE)]
CASES = [
    DEFAULT,
    *MCUNET,
    Case("mcunet-5fps", "49kb", "int8"),
    Case("mbv2-w0.35", "99kb"),
    Case("proxyless-w0.3", "98kb"),
]


def measure(case: Case, board: str, folder: Path) -> dict[str, Any]:
    """Compile, build and run one step; the figures as `make bench` stores them."""
    began = time.perf_counter()
    target = boards.load(board)
    compiled = pipeline.compile_job(case.model, case.scheme, target, classes=10, update=case.update)
    write(compiled.emitted, folder / "gen")
    seconds = time.perf_counter() - began
    figures = measure_compiled(compiled, board, folder)
    return figures | {"speed": {"model_to_c_seconds": round(seconds, 2), **figures["speed"]}}


def measure_compiled(compiled: pipeline.Compiled, board: str, folder: Path) -> dict[str, Any]:
    """Build and run one step of a compiled job."""
    target = boards.load(board)
    gen = write(compiled.emitted, folder / "gen")
    elf = build(board, gen, folder)
    counted = _step(compiled.manifest, board, elf)
    space = size(elf, target)
    ram = {"static": space.static, "arena": space.arena, "stack": counted["stack"]}
    nodes = _nodes(compiled.manifest, counted["marks"])
    return {
        "instructions": _by_phase(nodes, "instructions", counted["total"]),
        "cycles_estimated": counted["cycles"],
        "macs": _by_phase(nodes, "macs", sum(n["macs"] for n in nodes)),
        "ram": ram | {"total": sum(ram.values())},
        "flash": space.flash,
        "nodes": nodes,
        "speed": {"emulated_mips": counted["mips"]},
    }


def noise(shape: tuple[int, ...]) -> Array:
    """A fixed noise image from a linear congruential generator."""
    state, values = 1, np.empty(int(np.prod(shape)), np.int8)
    for i in range(values.size):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        values[i] = (state >> 16 & 0xFF) - 128
    return values.reshape(shape)


def _step(manifest: Mapping[str, Any], board: str, elf: Path) -> dict[str, Any]:
    expected = Expected.of(board, manifest)
    session = Session.connect(emulated(board, elf), boards.load(board).baud, expected, elf)
    try:
        sample = noise(tuple(manifest["input"]["shape"])).tobytes()
        label, trains = 3 % manifest["classes"], manifest["forward_nodes"] < len(manifest["nodes"])
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


def _nodes(manifest: Mapping[str, Any], marks: list[tuple[int, int]]) -> list[dict[str, Any]]:
    if len(marks) != len(manifest["nodes"]) + 1:
        raise InternalError(f"{len(marks)} time stamps for {len(manifest['nodes'])} nodes")
    spans = zip(manifest["nodes"], marks, marks[1:], strict=False)
    return [n | {"instructions": b[0] - a[0], "cycles_estimated": b[1] - a[1]} for n, a, b in spans]


def _by_phase(nodes: list[dict[str, Any]], what: str, total: int) -> dict[str, int]:
    phases = {p: sum(n[what] for n in nodes if n["phase"] == p) for p in ("backward", "update")}
    return {"forward": total - sum(phases.values()), **phases, "total": total}


def run(board: str, console: Console, update: bool = False, only: str = "") -> dict[str, Any]:
    """Measure the cases whose model is here; print, write build/bench.json, renew the baselines if asked."""
    cases = [c for c in CASES if c.present() and only in c.key]
    found = {c.key: measure(c, board, BUILD / "bench" / c.key.replace(" ", "-")) for c in cases}
    for key, figures in found.items():
        console.print(_table(key, figures))
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    if update:
        baselines.renew(BASELINES, {k: summary(f) for k, f in found.items()})
    return found


def summary(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What a baseline keeps."""
    return {k: figures[k] for k in ("instructions", "macs", "ram", "flash")}


def rises(found: Mapping[str, Any]) -> list[str]:
    """Figures more than 1 % above their baseline, in words."""
    stored = baselines.load(BASELINES)
    return [
        f"{key} {path}: {value:,} over {base:,}"
        for key, figures in found.items()
        for path, value, base in _pairs(summary(figures), stored.get(key, {}))
        if baselines.risen(value, base)
    ]


def _pairs(found: Mapping[str, Any], base: Mapping[str, Any], path: str = "") -> list[tuple[str, int, int]]:
    pairs: list[tuple[str, int, int]] = []
    for key, value in found.items():
        if isinstance(value, dict):
            pairs += _pairs(value, base.get(key, {}), f"{path}{key}.")
        elif key in base:
            pairs.append((f"{path}{key}", value, base[key]))
    return pairs


def _table(key: str, figures: Mapping[str, Any]) -> Table:
    peers = PEERS.get(key.removesuffix(" int8"), {})
    table = Table(title=f"{key}: one training step, batch 1")
    for column in ("", "mcugrad", *peers):
        table.add_column(column, justify="right" if column else "left")
    instructions, macs, ram = figures["instructions"], figures["macs"], figures["ram"]
    both = instructions | {"backward+update": instructions["backward"] + instructions["update"]}
    for phase in ("forward", "backward", "update", "backward+update", "total"):
        cells = [
            f"{p['instructions'].get(phase, 0):,}" if phase in p["instructions"] else ""
            for p in peers.values()
        ]
        table.add_row(f"instructions, {phase}", f"{both[phase]:,}", *cells)
    table.add_row("instructions per MAC", f"{instructions['total'] / macs['total']:.2f}")
    table.add_row("cycles, estimated", f"{figures['cycles_estimated']:,}")
    for part in ("static", "arena", "stack", "total"):
        table.add_row(
            f"RAM, {part}",
            f"{ram[part]:,}",
            *(f"{p['ram'].get(part, 0):,}" if part in p["ram"] else "" for p in peers.values()),
        )
    table.add_row("model to C, seconds", f"{figures['speed']['model_to_c_seconds']}")
    table.add_row("emulated board, MIPS", f"{figures['speed']['emulated_mips']}")
    table.add_row("flash", f"{figures['flash']:,}", *(f"{p['flash']:,}" for p in peers.values()))
    return table
