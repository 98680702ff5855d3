"""Contribution analysis: what training one convolution's weights, or the last k biases, adds to the head."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcugrad import records
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.passes.schemes import Scheme
from mcugrad.records import Record
from mcugrad.search.gains import CLASSES, HEAD, SHARES, Tell, Training
from mcugrad.search.short import Short, earliest

BIAS_POINTS = 14  # of the grid of k over the whole network; gains between them are interpolated


@dataclass(frozen=True)
class Analysis:
    """All that decides the figures of an analysis, but for the cell."""

    training: Training
    lr: float
    seed: int

    def case(self) -> dict[str, Any]:
        return asdict(self.training) | {"lr": self.lr, "seed": self.seed}


def layers(text: str, count: int) -> list[int]:
    """'15-20 24' -> convolutions; '' -> all `count` of them. UserError for one that is not there."""
    found = list[int]()
    for word in text.replace(",", " ").split():
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        if not match:
            raise UserError(f"unreadable layers '{text}'", "--layers", "write '15-41' or '21 24 27'")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    wrong = [i for i in found if i >= count]
    if wrong:
        fix = f"the network has {count}, from 0"
        raise UserError(f"there is no convolution {wrong[0]}", f"--layers '{text}'", fix)
    return sorted(set(found)) or list(range(count))


def cells(chosen: Sequence[int], count: int) -> list[Scheme]:
    """The head alone, the last k biases on a grid up to the first chosen layer, each layer at each share."""
    every, last = max(1, round(count / BIAS_POINTS)), count - min(chosen)
    biases = sorted({*range(every, last, every), last})
    weights = (Scheme(0, {index: share}) for index in reversed(chosen) for share in SHARES)
    return [HEAD, *(Scheme(k) for k in biases), *weights]


def contribute(analysis: Analysis, wanted: Sequence[Scheme], out: Path, tell: Tell) -> None:
    """Train every cell that `out` lacks and append its line; UserError if `out` holds another analysis."""
    known = {r["case"]["scheme"] for r in _of(analysis, records.read(out), out)}
    missing = [scheme for scheme in wanted if str(scheme) not in known]
    tell(f"{len(wanted) - len(missing)} of {len(wanted)} cells are in {out}")
    if not missing:
        return
    first = earliest(models.load(analysis.training.model, CLASSES), list(map(str, wanted)))
    began = time.monotonic()
    short = Short(analysis.training, first)
    tell(f"frozen front run in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    for done, scheme in enumerate(missing, 1):
        figures = short.run(str(scheme), analysis.lr, analysis.seed)
        records.append(out, {"case": analysis.case() | {"scheme": str(scheme)}} | figures)
        left = (time.monotonic() - began) / done * (len(missing) - done)
        about = (
            "diverged" if figures["diverged"] else f"{figures['accuracy']:.1%}, loss {figures['loss']:.4f}"
        )
        tell(f"[{done}/{len(missing)}, {left / 60:.0f} min left] {scheme}: {about}")


def _of(analysis: Analysis, lines: Sequence[Record], out: Path) -> Sequence[Record]:
    for line in lines:
        found = {k: v for k, v in line["case"].items() if k != "scheme"}
        if found != analysis.case():
            raise _other(found, analysis.case(), out)
    return lines


def _other(found: Mapping[str, Any], wanted: Mapping[str, Any], out: Path) -> UserError:
    name = next(k for k in wanted if found.get(k) != wanted[k])
    what = f"the file holds another analysis ({name} = {found.get(name)}, not {wanted[name]})"
    return UserError(what, str(out), "give another --out, or the settings it was begun with")
