"""A profile as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from mcugrad.profile.record import Change, Profile, Row, Total, totals


def tables(profile: Profile) -> Iterator[Table]:
    """All nodes, then the totals of each kind and of each phase."""
    rows = profile.rows
    yield _nodes(profile.name, rows)
    yield _totals("by kind", totals(rows, "kind"))
    yield _totals("by phase", totals(rows, "phase"))


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for word in words:
        table.add_column(word)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table


def _nodes(title: str, rows: Sequence[Row]) -> Table:
    words = ("#", "layer", "kind", "phase", "shape")
    out = _table(title, words, ("MACs", "calls", "instructions", "a MAC", "cycles, est.", "share"))
    whole = sum(r.instructions for r in rows) or 1
    for r in rows:
        about = ("" if r.node is None else str(r.node), r.layer, r.kind, r.phase, r.shape)
        counts = (_some(r.macs), _some(r.calls, 1), f"{r.instructions:,}", each(r))
        out.add_row(*about, *counts, f"{r.cycles:,}", f"{r.instructions / whole:.1%}")
    return out


def _totals(title: str, found: Sequence[Total]) -> Table:
    out = _table(title, ("",), ("nodes", "MACs", "instructions", "a MAC", "cycles, est.", "share"))
    for t in found:
        ratio = f"{t.cost / t.macs:.2f}" if t.macs else ""
        counts = (str(t.nodes), _some(t.macs), f"{t.cost:,}", ratio, f"{t.cycles:,}")
        out.add_row(t.name, *counts, f"{t.share:.1%}")
    return out


def compared(before: Profile, after: Profile, found: Sequence[Change]) -> Table:
    """The nodes that changed, the largest change first, and the whole step."""
    words = ("layer", "kind", "phase", "shape")
    numbers = ("before", "after", "change", "", "a MAC")
    out = _table(f"{before.name} -> {after.name}", words, numbers)
    for c in found:
        r = c.row
        out.add_row(r.layer, r.kind, r.phase, r.shape, *_pair(c), f"{each(c.before)} -> {each(c.after)}")
    out.add_section()
    was, now = before.instructions, after.instructions
    ratios = f"{was / before.macs:.2f} -> {now / after.macs:.2f}"
    out.add_row("step", "", "", "", f"{was:,}", f"{now:,}", f"{now - was:+,}", relative(was, now), ratios)
    return out


def _pair(c: Change) -> list[str]:
    was, now = (None if r is None else r.instructions for r in (c.before, c.after))
    cells = ["" if n is None else f"{n:,}" for n in (was, now)]
    return [*cells, f"{c.delta:+,}", relative(was, now)]


def relative(was: int | None, now: int | None) -> str:
    """In percent; in a word where one is missing."""
    if was is None or now is None:
        return "new" if was is None else "gone"
    return f"{now / was - 1:+.1%}" if was else ""


def each(row: Row | None) -> str:
    """Instructions a MAC, with two places."""
    return f"{row.each:.2f}" if row and row.each is not None else ""


def _some(count: int, usual: int = 0) -> str:
    return "" if count == usual else f"{count:,}"
