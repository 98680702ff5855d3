"""The stored counts as the table of kernels/README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mcugrad.errors import InternalError
from mcugrad.kernelbench.cases import CASES, Kernel

BEGIN, END = "<!-- bench-kernels: -->\n", "<!-- :bench-kernels -->"
MASK = " + mask"


def table(counts: Mapping[str, int], kernels: Sequence[Kernel] = CASES) -> str:
    """Instructions a MAC by kernel, in Markdown; a kernel with a mask stands beside the one without."""
    each = {k.label: f"{counts[k.label] / k.work():.2f}" for k in kernels}
    lines = ["|kernel|mcugrad|+ mask|TinyEngine|CMSIS-NN|bar|", "|-|-|-|-|-|-|"]
    for k in kernels:
        if k.label.removesuffix(MASK) == k.label or k.label.removesuffix(MASK) not in each:
            cmsis, tinyengine, bar = (*k.peers, None, None, None)[:3]
            theirs = ["" if x is None else f"{x:.2f}" for x in (tinyengine, cmsis)]
            reached = "" if bar is None else f"{bar:.2f} {'✓' if counts[k.label] <= bar * k.work() else '✗'}"
            cells = (k.label, each[k.label], each.get(k.label + MASK, ""), *theirs, reached)
            lines.append(f"|{'|'.join(cells)}|")
    return "\n".join(lines) + "\n"


def put(path: Path, counts: Mapping[str, int]) -> None:
    """Renew the table in a page."""
    head, rest = _split(path, BEGIN)
    _, tail = rest.split(END)
    path.write_text(f"{head}{BEGIN}{table(counts)}{END}{tail}")


def found(path: Path) -> str:
    """The table that a page has."""
    return _split(path, BEGIN)[1].split(END)[0]


def _split(path: Path, mark: str) -> list[str]:
    parts = path.read_text().split(mark)
    if len(parts) != 2:
        raise InternalError(f"{path} has no line {mark.strip()}")
    return parts
