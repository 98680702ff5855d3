"""What a board takes for a job: losses, instructions and cycles a node, memory; kept here as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hil_tests.rig import Image
from mcugrad import boards
from mcugrad.build import size
from mcugrad.link.session import Session
from mcugrad.train import costs

BASELINES = Path(__file__).parent / "baselines"
RATE = 0.01
SMALL = 0.001  # nodes that changed by less are counted, not listed
CYCLE_DRIFT = 0.02  # a real board's cycles vary with what the caches hold
Figures = dict[str, Any]


def baseline(image: Image, emulated: bool) -> Path:
    """baselines/<board>/[real-]<model>-<scheme>.json"""
    name = f"{'' if emulated else 'real-'}{image.name}.json"
    return BASELINES / image.board / name


def measure(image: Image, session: Session, steps: int) -> Figures:
    """A run on noise from reset. `instructions` of nodes where the board is emulated, exact; else null."""
    losses = []
    for step in range(steps):
        result = session.train(step + 1, image.sample(step).tobytes(), step % image.classes, RATE)
        losses.append(str(np.float32(result["loss"])))
    nodes = costs(session, image.compiled.manifest)
    space = size(image.elf, boards.load(image.board))
    memory = {"static": space.static, "arena": space.arena, "stack": result["stack_high"]}
    total = {
        k: sum(n[k] for n in nodes) if nodes[0][k] is not None else None for k in ("instructions", "cycles")
    }
    return {
        "loss": losses,
        **total,
        "memory": memory | {"flash": space.flash},
        "nodes": {name: [n["instructions"], n["cycles"]] for name, n in named(nodes)},
    }


def named(nodes: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Nodes by place, layer, operation and phase."""
    for i, node in enumerate(nodes):
        yield f"{i:3} {node['layer'] or '-'} {node['op']} {node['phase']}", node


def text(figures: Figures) -> str:
    """JSON with a line a node, so that a diff of two versions reads well."""
    return (
        json.dumps(figures, indent=1).replace("[\n   ", "[").replace(",\n   ", ", ").replace("\n  ]", "]")
        + "\n"
    )


def differences(found: Figures, kept: Figures) -> list[str]:
    """What has drifted, in words, the nodes first; empty where nothing has."""
    lines = [*_nodes(found["nodes"], kept["nodes"])]
    lines += [
        f"{k}: {_change(kept[k], found[k])}" for k in ("instructions", "cycles") if _drifted(k, found, kept)
    ]
    lines += [
        f"{name}: {_change(kept['memory'].get(name), n)} bytes"
        for name, n in found["memory"].items()
        if n != kept["memory"].get(name)
    ]
    return [*lines, *_losses(found["loss"], kept["loss"])]


def _drifted(what: str, found: Figures, kept: Figures) -> bool:
    """Instructions are exact. Cycles count where there is nothing better."""
    if what == "cycles" and found["instructions"] is not None:
        return False
    allowed = CYCLE_DRIFT if what == "cycles" else 0.0
    a, b = kept[what], found[what]
    return a != b and (a is None or b is None or abs(b - a) > allowed * a)


def _nodes(found: Mapping[str, list[Any]], kept: Mapping[str, list[Any]]) -> Iterator[str]:
    few = 0
    for name in [*kept, *(n for n in found if n not in kept)]:
        if name not in found or name not in kept:
            yield f"node {name}: {'new' if name in found else 'gone'}"
            continue
        for i, what in enumerate(("instructions", "cycles")):
            now, was = ({"instructions": v[0], "cycles": v[1]} for v in (found[name], kept[name]))
            if not _drifted(what, now, was):
                continue
            if (
                kept[name][i]
                and found[name][i]
                and abs(found[name][i] - kept[name][i]) < SMALL * kept[name][i]
            ):
                few += 1
            else:
                yield f"node {name}: {what} {_change(kept[name][i], found[name][i])}"
    if few:
        yield f"{few} other nodes: by less than {SMALL:.1%}"


def _losses(found: list[str], kept: list[str]) -> Iterator[str]:
    for step, (now, was) in enumerate(zip(found, kept, strict=False), 1):
        if now != was:
            yield f"loss curve: differs from step {step} on, {was} -> {now}"
            return
    if len(found) != len(kept):
        yield f"loss curve: {len(kept)} -> {len(found)} steps"


def _change(was: int | None, now: int | None) -> str:
    if was is None or now is None:
        return f"{was} -> {now}"
    share = f", {100 * (now - was) / was:+.2f} %" if was else ""
    return f"{was:,} -> {now:,} ({now - was:+,}{share})"
