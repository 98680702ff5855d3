"""Measured figures of a step -> rows in order, totals, and what changed since other figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcugrad.errors import UserError


@dataclass(frozen=True)
class Row:
    """A node, or what is left of a stream or tiles (node None). calls: how often its kernel ran."""

    node: int | None
    layer: str
    op: str
    kind: str
    phase: str
    shape: str
    macs: int
    instructions: int
    cycles: int
    calls: int

    @property
    def each(self) -> float | None:
        """Instructions a MAC."""
        return self.instructions / self.macs if self.macs else None


@dataclass(frozen=True)
class Total:
    """Rows that have a phase or a kind in common. cost: their instructions; share: of the step's."""

    name: str
    nodes: int
    macs: int
    cost: int
    cycles: int
    share: float


@dataclass(frozen=True)
class Change:
    """A row of two builds; None where one of them has no such node."""

    before: Row | None
    after: Row | None

    @property
    def row(self) -> Row:
        row = self.after or self.before
        assert row
        return row

    @property
    def delta(self) -> int:
        """Instructions more than before."""
        return (self.after.instructions if self.after else 0) - (
            self.before.instructions if self.before else 0
        )


@dataclass(frozen=True)
class Profile:
    """The figures of bench.measure, with a name: model, scheme, update mode, board."""

    name: str
    figures: Mapping[str, Any]

    @property
    def rows(self) -> list[Row]:
        """Nodes in order; after the last of a stream or tiles, what is left of them."""
        rows = [_node(i, n) for i, n in enumerate(self.figures["nodes"])]
        for p in sorted(self.figures["parts"], key=lambda p: -int(p["first"])):
            rows.insert(p["last"] + 1, _rest(p))
        return rows

    @property
    def instructions(self) -> int:
        return int(self.figures["instructions"]["total"])

    @property
    def cycles(self) -> int:
        return int(self.figures["cycles_estimated"])

    @property
    def macs(self) -> int:
        return int(self.figures["macs"]["total"])

    def text(self, before: Profile | None = None) -> str:
        """One JSON object, which `read` reads; with what changed since another profile."""
        since = {} if before is None else {"changes": [asdict(c) for c in changes(before.rows, self.rows)]}
        return json.dumps({"name": self.name, **self.figures, **since}) + "\n"


def read(path: Path, name: str) -> Profile:
    """A profile that --json wrote, or the case of that name in what `mcugrad bench` wrote."""
    fix = "name a file of `mcugrad profile --json` or build/bench.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"not a readable profile ({error})", str(path), fix) from None
    found = content.get(name.split(" on ")[0], content) if isinstance(content, dict) else {}
    if not {"nodes", "parts", "instructions", "macs", "cycles_estimated"} <= {*found}:
        raise UserError(f"no profile of {name} in it", str(path), fix)
    return Profile(str(found.get("name", name)), found)


def totals(rows: Sequence[Row], by: str) -> list[Total]:
    """Of each phase (in order) or kind (the dearest first)."""
    whole = sum(r.instructions for r in rows) or 1
    found = []
    for name in dict.fromkeys(getattr(r, by) for r in rows):
        mine = [r for r in rows if getattr(r, by) == name]
        cost = sum(r.instructions for r in mine)
        macs, cycles = sum(r.macs for r in mine), sum(r.cycles for r in mine)
        found.append(Total(name, len(mine), macs, cost, cycles, cost / whole))
    return found if by == "phase" else sorted(found, key=lambda t: -t.cost)


def changes(before: Sequence[Row], after: Sequence[Row]) -> list[Change]:
    """What differs, the largest difference first. Nodes are the same that have layer and op in common."""
    old, new = _named(before), _named(after)
    pairs = [Change(old.get(key), new.get(key)) for key in dict.fromkeys([*new, *old])]
    return sorted((c for c in pairs if c.delta), key=lambda c: -abs(c.delta))


def _named(rows: Sequence[Row]) -> dict[tuple[str, str, int], Row]:
    seen: Counter[tuple[str, str]] = Counter()
    named = {}
    for r in rows:
        named[r.layer, r.op, seen[r.layer, r.op]] = r
        seen[r.layer, r.op] += 1
    return named


def _node(i: int, n: Mapping[str, Any]) -> Row:
    cost = int(n["instructions"]), int(n["cycles_estimated"]), int(n.get("calls", 1))
    kind = n.get("kind", n["op"])
    return Row(i, n["layer"], n["op"], kind, n["phase"], n["shape"], int(n["macs"]), *cost)


def _rest(p: Mapping[str, Any]) -> Row:
    kind, reach = p["name"].split()[0], f"around nodes {p['first']} to {p['last']}"
    cost = int(p["instructions"]), int(p["cycles_estimated"]), 1
    return Row(None, p["name"], kind, kind, p["phase"], reach, 0, *cost)
