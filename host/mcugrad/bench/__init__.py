"""Exact figures of one training step on the emulated board, beside the peers': instructions, RAM, flash.

Instructions are those of all nodes, with what runs on rows of the sample while they come in; the peers' were
counted from a step's entry to its return.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from mcugrad import baselines
from mcugrad.bench.cases import CASES, DEFAULT, Case
from mcugrad.bench.step import measure, measure_compiled, whole
from mcugrad.bench.tables import beside, overview
from mcugrad.paths import BUILD, ROOT

__all__ = ["CASES", "DEFAULT", "Case", "measure", "measure_compiled", "rises", "run", "summary", "whole"]

BASELINES = ROOT / "host" / "tests" / "golden" / "bench.json"


def run(
    board: str, console: Console, update: bool = False, only: str = "", every: bool = False
) -> dict[str, Any]:
    """Measure the cases whose model is here; print, write build/bench.json, renew the baselines if asked.

    every: with those that take the tests too long.
    """
    cases = [c for c in CASES if c.present() and only in c.key and (every or not c.extra)]
    found = {c.key: measure(c, board, BUILD / "bench" / c.key.replace(" ", "-")) for c in cases}
    _show(cases, found, console)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    if update:
        baselines.renew(BASELINES, {k: summary(f) for k, f in found.items()})
    return found


def _show(cases: Sequence[Case], found: Mapping[str, Any], console: Console) -> None:
    for case in cases:
        if case.peer:
            console.print(beside(case, case.peer, found[case.key]))
    console.print(overview(cases, found))


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
