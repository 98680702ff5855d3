"""What the table comes to, question by question, with the error that its size has."""

from __future__ import annotations

import math

from mcugrad.study.grid import BUDGETS, DEVICE, MCUNET, NO_QAS, SIMULATED, named
from mcugrad.study.table import JUDGED, Cell, Table, error_bar

DATA = tuple(BUDGETS["short"].epochs)
LAST_6 = "last-6 (the last two blocks, where the paper has +3.8 on Flowers, +11.5 on CIFAR-10, +3.9 on VWW)"


def text(found: Table) -> str:
    """A Markdown list; what is not run yet is named."""
    lines = ["## What it says", ""]
    for scheme, about in (("99kb", "99kb"), ("last-6", LAST_6)):
        what = f"QAS against none, fp32 gradients, {about}"
        lines.append(_compare(found, what, (scheme, SIMULATED), (scheme, NO_QAS), "at least +3"))
    what = "99 KB sparse scheme against last-1 (100 KB), device 8.8"
    lines.append(_compare(found, what, ("99kb", DEVICE), ("last-1", DEVICE), "above 0"))
    for column in (DEVICE, "device int8", "device fp32"):
        what = f"{column} against fp32 gradients, 99 KB"
        lines.append(_compare(found, what, ("99kb", column), ("99kb", SIMULATED), "within 0.5"))
    what = "full update against head alone"
    lines.append(_compare(found, what, ("full", DEVICE), ("head-only", DEVICE), "finite"))
    return "\n".join(lines)


def _compare(found: Table, what: str, a: tuple[str, str], b: tuple[str, str], bar: str) -> str:
    parts = []
    for data in DATA:
        one, other = found.get((data, MCUNET, *a)), found.get((data, MCUNET, *b))
        if not one or not other:
            parts.append(f"{named(data)} not run")
            continue
        for source, name in enumerate(data.split(">")):
            error = _difference_error(one, other, source, JUDGED[data][source])
            parts.append(f"{name} {one.mean(source) - other.mean(source):+.1f} ± {error:.1f}")
    return f"- {what} (wanted: {bar}): {'; '.join(parts)}."


def _difference_error(a: Cell, b: Cell, source: int, count: int) -> float:
    """Standard error of the difference of two means, as if other images had judged each."""
    return math.hypot(*(error_bar(c.mean(source), count) for c in (a, b)))
