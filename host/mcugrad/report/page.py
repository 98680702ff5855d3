"""Telemetry -> report.html (nothing loaded from elsewhere) and curves.png."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mcugrad.errors import UsageError
from mcugrad.report.curves import PHASES, arena, confusion, curves, png, svg
from mcugrad.telemetry import Telemetry

_TEMPLATE = "report.html"
_MOST_CLASSES = 20
Row = dict[str, Any]


def write(log: Telemetry, folder: Path) -> tuple[Path, Path]:
    """Make the page and the picture of one run; returns their paths."""
    page, picture = folder / "report.html", folder / "curves.png"
    steps, evals = log.table("steps"), log.table("evals")
    png(curves(steps, evals), picture, 10, 3.6)
    page.write_text(environment().get_template(_TEMPLATE).render(**_content(log, steps, evals)))
    return page, picture


def save(page: str, path: Path) -> Path:
    """Write a page where it was asked for; UsageError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page)
    except OSError as error:
        fix = "name a file that you may write"
        raise UsageError(f"cannot write the page ({error})", f"--html {path}", fix) from None
    return path


def environment() -> Environment:
    """Templates of this folder, with the filters kb, n and pc."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "kb": kilobytes,
        "n": lambda n: "–" if n is None else f"{n:,}",
        "pc": "{:.1%}".format,
    }
    return environment


def kilobytes(count: int) -> str:
    return f"{count / 1024:.1f} KB"


def _content(log: Telemetry, steps: list[Row], evals: list[Row]) -> Row:
    run, nodes = log.run, log.table("nodes")
    manifest = run["manifest"]
    unit = "instructions" if nodes and nodes[0]["instructions"] is not None else "cycles"
    planned = manifest.get("nodes", [])
    return {
        "run": run,
        "folder": log.path.parent.name,
        "started": f"{datetime.fromtimestamp(run['started']):%Y-%m-%d %H:%M}",
        "seconds": (run["ended"] or steps[-1]["time"] if steps else run["started"]) - run["started"],
        "curves": svg(curves(steps, evals), 10, 3.4),
        "arena": svg(arena(manifest["buffers"], planned, manifest["arena_bytes"]), 10, 3.0)
        if planned
        else "",
        "regions": regions(run["memory"]),
        "nodes": streamed(nodes, planned),
        "unit": unit,
        "most": max((n[unit] for n in nodes), default=0) or 1,
        "phases": phases(nodes, unit),
        "colours": PHASES,
        "steps": steps,
        "last": steps[-1] if steps else None,
        "latency": sum(s["latency_s"] for s in steps) / len(steps) if steps else 0.0,
        "evals": evals,
        "confusion": confused(evals, run["board"]),
        "travel": travel(log.table("link"), run),
        "times": times(log.table("link"), steps, run),
    }


def streamed(nodes: list[Row], planned: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Nodes with `first`, the node that holds the cost of all its stream, and there the MACs of all."""
    streams = [p.get("stream") for p in planned] if len(planned) == len(nodes) else [None] * len(nodes)
    rows = []
    for i, (node, stream) in enumerate(zip(nodes, streams, strict=True)):
        first = i if stream is None else streams.index(stream)
        members = [n for n, s in zip(nodes, streams, strict=True) if s == stream]
        whole = sum(n["macs"] or 0 for n in members) if stream is not None and first == i else node["macs"]
        rows.append({**node, "first": first, "paid": whole})
    return rows


def confused(evals: list[Row], board: Row) -> str:
    """Labels against predictions of the last judgement as a picture; none of too many classes."""
    labels, classes = board.get("test_labels"), board.get("classes", ())
    if not evals or not labels or not 2 <= len(classes) <= _MOST_CLASSES:
        return ""
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, json.loads(evals[-1]["predicted"])), 1)
    side = 1.6 + 0.38 * len(classes)
    return svg(confusion(counts, [name[:16] for name in classes]), side, side)


def travel(link: list[Row], run: Row) -> Row | None:
    """How samples travelled in the last session: bytes a second, share of the line, seconds a sample."""
    last = link[-1] if link else None
    if not last or not last["sample_seconds"]:
        return None
    rate, baud = last["sample_bytes"] / last["sample_seconds"], run["board"].get("baud")
    share = 10 * rate / baud if baud else None  # ten bits a byte
    return {"rate": rate, "share": share, "seconds": run["manifest"]["input"]["bytes"] / rate, "baud": baud}


def times(link: list[Row], steps: list[Row], run: Row) -> list[Row]:
    """What a step spends its time with: the sample's way, forward, backward and update, in milliseconds."""
    if not steps:
        return []
    hz, last, sent = run["board"]["cpu_hz"], steps[-1], travel(link, run)
    forward, whole = (1000 * last[name] / hz for name in ("cycles_forward", "cycles_total"))
    parts = {"forward": forward, "backward and update": whole - forward}
    if sent:
        parts = {"sample on the line": 1000 * sent["seconds"], **parts}
    total = sum(parts.values()) or 1
    return [{"name": name, "ms": ms, "share": ms / total} for name, ms in parts.items()]


def regions(memory: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Each RAM with its parts as shares of its size, for bars."""
    return [
        {
            **region,
            "used": sum(region["parts"].values()),
            "bars": [
                {"name": name, "bytes": size, "share": size / region["size"]}
                for name, size in region["parts"].items()
                if size
            ],
        }
        for region in memory
    ]


def phases(nodes: list[Row], unit: str) -> list[Row]:
    """Cost of forward, backward and update, with their shares."""
    total = sum(n[unit] for n in nodes) or 1
    rows = []
    for phase in dict.fromkeys(n["phase"] for n in nodes):
        mine = [n for n in nodes if n["phase"] == phase]
        cost = sum(n[unit] for n in mine)
        row = {"name": phase, "nodes": len(mine), "macs": sum(n["macs"] or 0 for n in mine)}
        rows.append({**row, "cost": cost, "share": cost / total})
    return rows
