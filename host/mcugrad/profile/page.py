"""A profile -> one self-contained page: where a step's instructions go, and what a change did to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcugrad.profile.record import Change, Profile, Row, changes, totals
from mcugrad.profile.tables import each, relative
from mcugrad.report.curves import PHASES
from mcugrad.report.page import environment

_PALETTE = ("#2f6fde", "#e07b1a", "#3f9e6b", "#8a63c9", "#c74b6b", "#4aa3b5")
_OTHER = "#8d99ab"
_LESS, _MORE = PHASES["update"], "#c74b6b"


def page(profile: Profile, before: Profile | None = None) -> str:
    """The page as HTML; nothing is loaded from elsewhere, and the same figures give the same bytes."""
    rows = profile.rows
    colours = _colours(rows)
    return (
        environment()
        .get_template("profile.html")
        .render(
            profile=profile,
            figures=profile.figures,
            rows=rows,
            most=max((r.instructions for r in rows), default=0) or 1,
            strips=_strips([before, profile] if before else [profile], colours),
            legend={**colours, "other": _OTHER},
            kinds=totals(rows, "kind"),
            kind_colours={r.kind: colours.get(r.op, _OTHER) for r in rows},
            before=before,
            changes=_changed(before, profile) if before else [],
            relative=relative,
        )
    )


def _colours(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each of the dearest operations."""
    dearest = [t.name for t in totals(rows, "op") if t.name not in ("stream", "tiles")]
    return dict(zip(dearest, _PALETTE, strict=False))


def _strips(profiles: Sequence[Profile], colours: Mapping[str, str]) -> list[list[dict[str, Any]]]:
    """For each profile its phases as bars, their lengths their costs, and in them the nodes."""
    found = [totals(p.rows, "phase") for p in profiles]
    longest = max((t.cost for phases in found for t in phases), default=0) or 1
    return [
        [{"phase": t, "parts": _parts(p.rows, t.name, colours, longest)} for t in phases]
        for p, phases in zip(profiles, found, strict=True)
    ]


def _parts(rows: Sequence[Row], phase: str, colours: Mapping[str, str], longest: int) -> list[dict[str, Any]]:
    mine = [r for r in rows if r.phase == phase and r.instructions]
    return [
        {"share": r.instructions / longest, "colour": colours.get(r.op, _OTHER), "title": _title(r)}
        for r in mine
    ]


def _title(r: Row) -> str:
    ratio = f", {each(r)} a MAC" if r.macs else ""
    return f"{r.layer} {r.kind}: {r.instructions:,} instructions{ratio}; {r.shape}"


def _changed(before: Profile, after: Profile) -> list[dict[str, Any]]:
    found = changes(before.rows, after.rows)
    most = max((abs(c.delta) for c in found), default=0) or 1
    return [_bar(c, most) for c in found]


def _bar(c: Change, most: int) -> dict[str, Any]:
    """A change with its bar: to the left, green, where it costs less now."""
    was, now = (None if r is None else r.instructions for r in (c.before, c.after))
    share = abs(c.delta) / most / 2
    return {
        "row": c.row,
        "was": was,
        "now": now,
        "delta": c.delta,
        "relative": relative(was, now),
        "each": f"{each(c.before)} → {each(c.after)}" if c.row.macs else "",
        "left": 0.5 - share if c.delta < 0 else 0.5,
        "width": share,
        "colour": _LESS if c.delta < 0 else _MORE,
    }
