"""The stored counts as the table of kernels/README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mcugrad.errors import InternalError
from mcugrad.kernelbench.cases import CASES, Kernel

BEGIN, END = "<!-- bench-kernels: -->\n", "<!-- :bench-kernels -->"
MASK = " + mask"
# As kernels/README.md derives them.
PAPER = {
    "conv 1x1 64x64 8->32": 0.65 + 0.66 + 0.03 + 0.11,
    "conv 1x1 32x32 16->48": 0.65 + 0.33 + 0.02 + 0.04,
    "conv 1x1 32x32 48->16": 0.65 + 0.11 + 0.06 + 0.04,
    "conv 1x1 16x16 24->120": 0.66 + 0.22 + 0.03 + 0.03,
    "conv 1x1 8x8 160->40": 0.83 + 0.03 + 0.03,
    "conv 1x1 4x4 96->576": 0.83 + 0.05,
    "dX 1x1 8x8 40->160": 0.71 + 0.05 + 0.02,
    "dX 1x1 8x8 160->40": 0.71 + 0.18 + 0.02,
    "dX 1x1 4x4 576->160": 0.71 + 0.05 + 0.09,
    "dX 1x1 32x32 48->16": 0.71 + 0.44,
    "dW + update 1x1 8x8 24->240": 0.71 + 0.38 + 0.16 + 0.09,
    "dW + update 1x1 4x4 96->384": 0.71 + 1.50 + 0.63 + 0.02,
    "dw 3x3 s1 32x32 48": 1.53 + 0.19 + 0.03 + 0.12,
    "dw 3x3 s1 8x8 192": 1.53 + 0.19 + 0.11 + 0.30,
    "dw 3x3 s1 4x4 576": 1.53 + 0.19 + 0.22 + 1.22,
    "dw 3x3 s2 64x64 32": 1.61 + 0.78 + 0.03 + 0.61,
    "dw 5x5 s1 8x8 160": 1.02 + 0.07 + 0.33 + 0.11,
    "dw 7x7 s1 8x8 160": 0.80 + 0.04 + 0.17 + 0.06,
    "dX dw 3x3 s1 8x8 192": 1.72 + 0.05 + 0.14 + 0.13,
    "dX dw 3x3 s1 4x4 576": 1.72 + 0.10 + 0.17 + 0.53,
    "dX dw 3x3 s2 16x16 120": 3.06 + 0.10 + 0.14 + 0.13,
    "dX dw 5x5 s1 4x4 384": 0.98 + 0.22 + 0.10 + 0.43,
    "dX dw 7x7 s1 8x8 160": 1.04 + 0.11 + 0.02 + 0.11,
    "dX dw 7x7 s2 8x8 240": 1.15 + 0.45 + 0.19 + 0.34,
    "fc int8 160->10 (conv 1x1 of one pixel)": 1.50 + 0.18 + 0.31,
}


def table(counts: Mapping[str, int], kernels: Sequence[Kernel] = CASES) -> str:
    """Instructions a MAC by kernel, in Markdown; a kernel with a mask stands beside the one without."""
    each = {k.label: f"{counts[k.label] / k.work():.2f}" for k in kernels}
    lines = ["|kernel|on paper|mcugrad|+ mask|TinyEngine|CMSIS-NN|bar|", "|-|-|-|-|-|-|-|"]
    for k in kernels:
        if k.label.removesuffix(MASK) == k.label or k.label.removesuffix(MASK) not in each:
            cmsis, tinyengine, bar = (*k.peers, None, None, None)[:3]
            theirs = ["" if x is None else f"{x:.2f}" for x in (tinyengine, cmsis)]
            reached = "" if bar is None else f"{bar:.2f} {'✓' if counts[k.label] <= bar * k.work() else '✗'}"
            paper = f"{PAPER[k.label]:.2f}" if k.label in PAPER else ""
            cells = (k.label, paper, each[k.label], each.get(k.label + MASK, ""), *theirs, reached)
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
