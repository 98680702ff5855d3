"""Call a kernel as its op record says, between guard bytes and at odd addresses; compare with the record."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad import ops
from mcugrad.hostlib import build_library
from mcugrad.ir import Value
from mcugrad.ir.graph import Array
from mcugrad.ops.op import Arg, Op, Place
from mcugrad.paths import KERNELS
from tests.kernels import shim

SANITIZERS = os.environ.get("MCUGRAD_SANITIZE", "undefined")
GUARD, FILL = 64, 0xA5
AFTER = 0 if "address" in SANITIZERS else GUARD  # the sanitizer's own guard sees reads too


class Operand:
    """Memory of one array, aligned to its element and no better, with guard bytes on both sides."""

    def __init__(self, nbytes: int, itemsize: int, data: Array | None) -> None:
        self.start, self.stop, self.guarded = GUARD + itemsize, GUARD + itemsize + nbytes, True
        self.raw = np.full(self.stop + AFTER, FILL, np.uint8)
        assert self.raw.ctypes.data % 8 == 0
        if data is not None:
            self.raw[self.start : self.stop] = np.ascontiguousarray(data).view(np.uint8).reshape(-1)

    @property
    def address(self) -> int:
        return self.raw.ctypes.data + self.start

    def array(self, like: Array) -> Array:
        return self.raw[self.start : self.stop].view(like.dtype).reshape(like.shape)

    def intact(self) -> bool:
        around = (self.raw[: self.start], self.raw[self.stop :])
        return not self.guarded or all((part == FILL).all() for part in around)


def lay_over(out: Operand, first: Operand, place: Place) -> None:
    """Have both start, or end, at one address, in the memory of the longer one."""
    data = first.raw[first.start : first.stop].copy()
    inner, outer = sorted((out, first), key=lambda m: m.stop - m.start)
    size = inner.stop - inner.start
    start = outer.stop - size if place == "end" else outer.start
    inner.raw, inner.start, inner.stop, inner.guarded = outer.raw, start, start + size, False
    first.raw[first.start : first.stop] = data


class Kernels:
    """All kernels in one library with the undefined-behaviour sanitizer."""

    def __init__(self, folder: Path, defines: list[str], flags: list[str]) -> None:
        self.folder = folder
        (folder / "shim.c").write_text(shim.source())
        sources = [*sorted(KERNELS.glob("*.c")), folder / "shim.c"]
        self.lib = build_library(sources, [KERNELS], folder / "kernels.so", defines, flags)

    def __call__(
        self, name: str, *ins: Array, drop: tuple[str, ...] = (), place: Place = "", **attrs: Any
    ) -> list[Array]:
        """Outs, then written ins, of the C kernel; `drop`: optional outs passed as NULL; `place`: how the
        first out lies on the first in."""
        op = ops.get(name)
        expected = op.ref(*ins, **attrs)
        memory = [Operand(e.nbytes, e.itemsize, None) for e in expected[: len(op.outs)]]
        memory += [Operand(x.nbytes, x.itemsize, x) for x in ins]
        if place:
            lay_over(memory[0], memory[len(op.outs)], place)
        addresses = [m.address for m in memory]
        addresses += [0] * (len(op.ins) - len(ins))
        for i, out in enumerate(op.outs):
            addresses[i] = 0 if out.name in drop else addresses[i]
        values = field_values(op, ins, attrs)
        fields = (ctypes.c_double * len(values))(*values)
        getattr(self.lib, f"shim_{op.kernel}")((ctypes.c_void_p * len(addresses))(*addresses), fields)
        assert all(m.intact() for m in memory), f"{name} wrote beyond an operand"
        written = [a.name in op.inout for a in op.ins]
        results = memory[: len(op.outs)] + [
            m for m, w in zip(memory[len(op.outs) :], written, strict=False) if w
        ]
        return [m.array(e) for m, e in zip(results, expected, strict=True)]

    def check(self, name: str, *ins: Array, drop: tuple[str, ...] = (), **attrs: Any) -> None:
        """Every bit of every result equals the record's numpy."""
        op = ops.get(name)
        expected = op.ref(*ins, **attrs)
        values = [_value(a, x.shape) for a, x in zip(op.ins, ins, strict=False)]
        for place in dict.fromkeys(("", op.inplace(values, attrs))):
            found = self(name, *ins, drop=drop, place=place, **attrs)
            for e, f, label in zip(expected, found, _labels(op), strict=True):
                if label not in drop and label not in op.scratch:
                    e = np.ascontiguousarray(e)
                    assert e.tobytes() == f.tobytes(), f"{name} {label} {place}: expected\n{e}\nfound\n{f}"


def _value(arg: Arg, shape: tuple[int, ...]) -> Value:
    return Value(arg.name, arg.dtype, shape)


def field_values(op: Op, ins: Sequence[Array], attrs: dict[str, Any]) -> list[float]:
    """Content of the C struct, in the order of its fields."""
    values = [_value(a, x.shape) for a, x in zip(op.ins, ins, strict=False)]
    shapes = op.shapes(values, attrs)
    fields = op.fields(values, [_value(a, s) for a, s in zip(op.outs, shapes, strict=True)], attrs)
    order = shim.FIELDS[op.params].split()
    assert set(fields) == set(order), f"the record of {op.name} fills other fields than its struct has"
    return [fields[k] for k in order]


def _labels(op: Op) -> list[str]:
    return [*(a.name for a in op.outs), *(a.name for a in op.ins if a.name in op.inout)]
