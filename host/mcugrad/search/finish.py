"""The end of a search: its front as a file and a picture, the best of it trained for real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mcugrad.frontend import models
from mcugrad.passes.schemes import SCHEMES, scheme_for
from mcugrad.report.curves import png
from mcugrad.search.evolve import Evolution, Found
from mcugrad.search.final import Score, Trials
from mcugrad.search.gains import CLASSES, Tell, analysed
from mcugrad.search.plot import pareto
from mcugrad.search.workers import Plan

FRONT, PICTURE, FINALISTS = "front.json", "pareto.png", "finalists.jsonl"


@dataclass(frozen=True)
class Final:
    """How the best of the front are trained: how many, epochs, rates to choose from, seeds."""

    count: int
    epochs: int
    rates: Sequence[float]
    seeds: int


def finish(evolution: Evolution, plan: Plan, final: Final, out: Path, tell: Tell) -> list[Score]:
    """Write the front and its picture, train the `final.count` best; returns their scores, best first."""
    out.mkdir(parents=True, exist_ok=True)
    front = evolution.front()
    (out / FRONT).write_text(json.dumps([_line(f) for f in front], indent=0) + "\n")
    training = replace(analysed(plan.contributions), epochs=final.epochs)
    chosen = [str(f.scheme) for f in front[: final.count]]
    trials = Trials(training, chosen, out / FINALISTS, tell)
    scores = trials.compare(final.rates, final.seeds, "validation")
    best = next((f for f in front if scores and str(f.scheme) == scores[0].scheme), front[0])
    draw = pareto(front, marked(evolution), best, plan.measure, plan.by)
    png(draw, out / PICTURE, 7, 4.5)
    return scores


def marked(evolution: Evolution) -> dict[str, Found]:
    """The model's schemes by name, where all their parts were analysed."""
    model = evolution.search.model
    forward, found = models.load(model, CLASSES), {}
    for name in SCHEMES.get(model, {}):
        scheme = scheme_for(forward, name)
        gain = evolution.gains.of(scheme)
        if gain is not None:
            found[name] = Found(scheme, gain, evolution.costs.of(scheme))
    return found


def _line(found: Found) -> dict[str, Any]:
    return {"scheme": str(found.scheme), "gain": round(found.gain, 5), **asdict(found.cost)}
