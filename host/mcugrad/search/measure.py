"""Make the table of latency.py: count instructions on the emulated board, node by node, and fit each kind.

`python -m mcugrad.search.measure` (some minutes; the paper's networks through MCUGRAD_DATA).
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np

from mcugrad import bench, boards, pipeline
from mcugrad.errors import OutOfMemoryError
from mcugrad.frontend import models
from mcugrad.ir.graph import Array
from mcugrad.ops.kinds import kind
from mcugrad.passes.schemes import Scheme, convolutions
from mcugrad.paths import BUILD
from mcugrad.pipeline import Compiled
from mcugrad.search.latency import TABLE, cost, features, predict

BOARD = "nucleo_h743zi2"  # the kernels are those of every Cortex-M7 board; this one holds the most schemes
CLASSES = 10
SHARES = [Fraction(1, n) for n in (8, 4, 2, 1)]
# Model -> schemes to fit; then schemes to judge the fit by. "random N": drawn by the seed N.
FITTED = {
    "mcunet-5fps": ["head-only", "49kb", "148kb", *(f"random {i}" for i in range(4))],
    "mbv2-w0.35": ["49kb", "138kb", *(f"random {i}" for i in range(3))],
    "proxyless-w0.3": ["49kb", "148kb", *(f"random {i}" for i in range(3))],
    "digits-tiny": ["full", "last-6", "random 0", "random 1"],
}
HELD_OUT = {
    "mcunet-5fps": ["74kb", "99kb", "125kb", "random 10", "random 11"],
    "mbv2-w0.35": ["99kb", "random 10"],
    "proxyless-w0.3": ["98kb", "random 10"],
    "digits-tiny": ["10kb", "random 10"],
}
# Whose streams and tiles say how much more a map costs by rows, a gradient by channels.
IN_PARTS = {"mcunet-5fps": "49kb", "mbv2-w0.35": "99kb", "proxyless-w0.3": "98kb"}
_WEIGHT = 0.02  # of a node's own size against that of the largest of its kind


def table() -> dict[str, Any]:
    """Measure, fit, judge."""
    measured = {case: measure(*case) for case in _cases(FITTED)}
    rows = defaultdict(list)
    for compiled, counts in measured.values():
        for node, count in zip(compiled.plan.order, counts, strict=True):
            rows[kind(compiled.graph, node)].append((features(compiled.graph, node), count))
    kinds = {name: fitted(pairs) for name, pairs in sorted(rows.items())}
    judged = {f"{m} {s}": _judge(*measure(m, s), kinds) for m, s in _cases(HELD_OUT)}
    errors = [abs(row["error_percent"]) for row in judged.values()]
    streams, tiles = zip(*(_in_parts(*case, kinds) for case in IN_PARTS.items()), strict=True)
    return {
        "made_by": "python -m mcugrad.search.measure",
        "features": ["macs", "elements written", "elements read", "places written", "calls"],
        "fitted_on": [f"{m} {s}" for m, s in _cases(FITTED)],
        "parts_on": [f"{m} {s}" for m, s in IN_PARTS.items()],
        "streamed": round(float(np.mean(streams)), 3),
        "tiled": round(_slope([pair for each in tiles for pair in each]), 2),
        "error_percent": {"mean": round(float(np.mean(errors)), 3), "max": max(errors)},
        "held_out": judged,
        "kinds": kinds,
    }


def measure(model: str, scheme: str) -> tuple[Compiled, list[int]]:
    """A compiled job without streams and the instructions of each node of its plan."""
    board = boards.load(BOARD)
    if scheme.startswith("random"):
        compiled = _random(model, int(scheme.split()[1]))
    else:
        compiled = pipeline.compile_job(model, scheme, board, CLASSES)
    compiled = bench.whole(compiled)
    return compiled, [node["instructions"] for node in _count(compiled, f"{model} {scheme}")["nodes"]]


def _count(compiled: Compiled, name: str) -> dict[str, Any]:
    figures = bench.measure_compiled(compiled, BOARD, BUILD / "search")
    sys.stderr.write(f"{name}: {figures['instructions']['total']:,}\n")
    return figures


def _in_parts(
    model: str, scheme: str, kinds: dict[str, list[float]]
) -> tuple[float, list[tuple[float, float]]]:
    """All streams' instructions over what the table says of their nodes one by one; of each tiles the table's
    over the width, and how many more there are."""
    compiled = pipeline.compile_job(model, scheme, boards.load(BOARD), CLASSES)
    figures = _count(compiled, f"{model} {scheme}")
    streams, tiles = [0.0, 0.0], list[tuple[float, float]]()
    for part in figures["parts"]:
        inside = range(part["first"], part["last"] + 1)
        counted = part["instructions"] + sum(figures["nodes"][i]["instructions"] for i in inside)
        known = sum(cost(compiled.graph, compiled.plan.order[i], kinds) for i in inside)
        if part["name"].startswith("stream"):
            streams = [streams[0] + counted, streams[1] + known]
        else:
            width = next(t.width for t in compiled.plan.tiles if t.first == part["first"])
            tiles.append((known / width, counted - known))
    return streams[0] / streams[1], tiles


def _slope(pairs: list[tuple[float, float]]) -> float:
    x, y = np.array(pairs).T
    return float(x @ y / (x @ x))


def fitted(rows: list[tuple[Array, int]]) -> list[float]:
    """Least squares, no feature cheaper than nothing; small nodes count less than large ones."""
    x, y = np.array([f for f, _ in rows]), np.array([count for _, count in rows], np.float64)
    scale = 1 / np.maximum(y, _WEIGHT * y.max())
    used = list(range(x.shape[1]))
    while used:
        found = np.linalg.lstsq(x[:, used] * scale[:, None], y * scale, rcond=1e-9)[0]
        if found.min() >= 0:
            break
        used.pop(int(found.argmin()))
    result = np.zeros(x.shape[1])
    result[used] = found
    return [float(f"{value:.5g}") for value in result]


def _judge(compiled: Compiled, counts: list[int], kinds: dict[str, list[float]]) -> dict[str, Any]:
    found, true = predict(compiled.graph, kinds), sum(counts)
    return {"measured": true, "predicted": found, "error_percent": round(100 * (found / true - 1), 3)}


def _random(model: str, seed: int) -> Compiled:
    """A random scheme that fits the board."""
    drawn, forward = random.Random(f"measure/{model}/{seed}"), models.load(model, CLASSES)
    count = len(convolutions(forward))
    while True:
        layers = [i for i in range(count // 4, count) if drawn.random() < 0.4]
        scheme = Scheme(drawn.randrange(count), {i: drawn.choice(SHARES) for i in layers})
        try:
            return pipeline.compile_model(forward, str(scheme), boards.load(BOARD))
        except OutOfMemoryError:
            continue


def _cases(schemes: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(model, scheme) for model, names in schemes.items() for scheme in names]


if __name__ == "__main__":
    TABLE.write_text(json.dumps(table(), indent=1) + "\n")
