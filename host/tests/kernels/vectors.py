"""The kernels' cases for a real chip: operands in flash, copied for each case into a pool in RAM.

`python -m tests.kernels.vectors FILE` writes them as C; firmware/test/test_kernels/vectors.c runs them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mcugrad.ir.graph import Array
from tests.kernels import arrays, shim
from tests.kernels import test_cortex_m7 as cases

LARGEST = 6000  # bytes of a case; all of them fit into 1 MB of flash


class TargetProgram(cases.Program):
    """Nothing writable: what a case changes lies in the pool."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[str, int] = {}
        self.pool = 0

    def case(self, label: str, name: str, *ins: Array, drop: tuple[str, ...] = (), **attrs: Any) -> None:
        before = len(self.text)
        super().case(label.replace(" ", "_"), name, *ins, drop=drop, **attrs)
        k = f"c{len(self.cases) - 1}"
        if sum(n for place, n in self._sizes.items() if place.startswith(f"{k}_")) > LARGEST:
            del self.text[before:], self.cases[-1]
            return
        self.cases[-1] = re.sub(r"\},$", f", {k}_lengths, {k}_skips}},", self.cases[-1])

    def source(self) -> str:
        table = "\n".join(["const test_case cases[] = {", *self.cases, "};"])
        numbers = f"const int case_count = {len(self.cases)};\nenum {{ POOL_BYTES = {self.pool} }};"
        pool = 'uint8_t test_pool[POOL_BYTES] __attribute__((section(".arena"), aligned(8)));'
        return "\n".join([shim.source(), '#include "vectors.h"', *self.text, table, numbers, pool, ""])

    def _bytes(self, name: str, a: Array) -> str:
        place = super()._bytes(name, a)
        self.text[-1] = self.text[-1].replace("static uint8_t", "static const uint8_t")
        self._sizes[place] = a.nbytes + int(place.rsplit(" + ", 1)[1])
        return place

    def _array(self, kind: str, name: str, values: list[str]) -> None:
        if name.endswith("_operands"):
            lengths = [self._sizes.get(v, 0) for v in values]
            self.pool = max(self.pool, sum(-(-n // 8) * 8 for n in lengths))
            skips = [v.rsplit(" + ", 1)[-1] for v in values]
            super()._array(
                "const unsigned ", name.replace("_operands", "_lengths"), [*map(str, lengths), "END"]
            )
            super()._array("const unsigned ", name.replace("_operands", "_skips"), skips)
            kind = "const void *const "
        super()._array(kind, name, values)


def write(path: Path) -> int:
    """The C file; how many cases."""
    arrays.reseed(0)
    program = TargetProgram()
    for add in (cases.all_convolutions, cases.matrices, cases.everything_else, cases.fused, cases.dynamic):
        add(program)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(program.source())
    return len(program.cases)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
