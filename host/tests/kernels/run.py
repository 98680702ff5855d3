"""Call a kernel as its op record says, between guard bytes and at odd addresses; compare with the record."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad import ops
from mcugrad.hostlib import build_library
from mcugrad.ir import Value
from mcugrad.ir.graph import Array
from mcugrad.ops.op import Arg, Op, Place, Work
from mcugrad.paths import KERNELS
from tests.kernels import shim

SANITIZERS = os.environ.get("MCUGRAD_SANITIZE", "undefined")
GUARD, FILL = 64, 0xA5
AFTER = 0 if "address" in SANITIZERS else GUARD  # the sanitizer's own guard sees reads too


class Operand:
    """Memory of one array with guard bytes on both sides, at any byte, or word if it is not of bytes."""

    def __init__(self, nbytes: int, itemsize: int, data: Array | None) -> None:
        self.start, self.guarded = GUARD + (1 if itemsize == 1 else 4), True
        self.stop = self.start + nbytes
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
    """All kernels in one library with the undefined-behaviour sanitizer.

    scratch: of the range that the record allows, where the kernels' scratch memory is tried, from 0 to 1.
    """

    def __init__(self, folder: Path, defines: list[str], flags: list[str], scratch: Sequence[float]) -> None:
        self.folder, self.scratch = folder, scratch
        (folder / "shim.c").write_text(shim.source())
        sources = [*sorted(KERNELS.glob("*.c")), folder / "shim.c"]
        self.lib = build_library(sources, [KERNELS], folder / "kernels.so", defines, flags)

    def __call__(
        self,
        name: str,
        *ins: Array,
        drop: tuple[str, ...] = (),
        place: Place = "",
        words: int | None = None,
        **attrs: Any,
    ) -> list[Array]:
        """Outs, then written ins, of the C kernel; `drop`: optional outs passed as NULL; `place`: how the
        first out lies on the first in; `words` of scratch, not the most."""
        op = ops.get(name)
        expected = op.ref(*ins, **attrs)
        outs = [Operand(e.nbytes, e.itemsize, None) for e in expected[: len(op.outs)]]
        given = [Operand(x.nbytes, x.itemsize, x) for x in ins]
        words = work_of(op, ins, attrs).most if words is None else words
        work = [Operand(4 * words, 4, None)] if op.work else []
        if place:
            lay_over(outs[0], given[0], place)
        addresses = [0 if a.name in drop else m.address for a, m in zip(op.outs, outs, strict=True)]
        addresses += [m.address if words else 0 for m in work] + [m.address for m in given]
        addresses += [0] * (len(op.ins) - len(ins))
        values = field_values(op, ins, attrs, words)
        fields = (ctypes.c_double * len(values))(*values)
        getattr(self.lib, f"shim_{op.kernel}")((ctypes.c_void_p * len(addresses))(*addresses), fields)
        assert all(m.intact() for m in (*outs, *work, *given)), f"{name} wrote beyond an operand"
        written = [m for m, a in zip(given, op.ins, strict=False) if a.name in op.inout]
        return [m.array(e) for m, e in zip([*outs, *written], expected, strict=True)]

    def check(self, name: str, *ins: Array, drop: tuple[str, ...] = (), **attrs: Any) -> None:
        """Every bit of every result equals the record's numpy."""
        op = ops.get(name)
        expected = op.ref(*ins, **attrs)
        values = [_value(a, x.shape) for a, x in zip(op.ins, ins, strict=False)]
        work = work_of(op, ins, attrs)
        between = [work.least + int(at * (work.most - work.least)) for at in self.scratch]
        sizes = dict.fromkeys(between + [work.tight] * (work.tight > 0))
        places = dict.fromkeys(("", op.inplace(values, attrs)))
        for place, words in product(places, sizes):
            found = self(name, *ins, drop=drop, place=place, words=words, **attrs)
            for e, f, label in zip(expected, found, _labels(op), strict=True):
                if label not in drop:
                    e, how = np.ascontiguousarray(e), f"{place} with {words} words of scratch"
                    assert e.tobytes() == f.tobytes(), f"{name} {label} {how}: expected\n{e}\nfound\n{f}"


def _value(arg: Arg, shape: tuple[int, ...]) -> Value:
    return Value(arg.name, arg.dtype, shape)


def work_of(op: Op, ins: Sequence[Array], attrs: dict[str, Any]) -> Work:
    """What the record says of the kernel's scratch."""
    values = [_value(a, x.shape) for a, x in zip(op.ins, ins, strict=False)]
    return op.work(values, attrs) if op.work else Work(0, 0)


def field_values(op: Op, ins: Sequence[Array], attrs: dict[str, Any], words: int) -> list[float]:
    """Content of the C struct, in the order of its fields."""
    values = [_value(a, x.shape) for a, x in zip(op.ins, ins, strict=False)]
    shapes = op.shapes(values, attrs)
    outs = [_value(a, s) for a, s in zip(op.outs, shapes, strict=True)]
    fields = op.fields(values, outs, {**attrs, "work": words})
    order = shim.FIELDS[op.params].split()
    assert set(fields) == set(order), f"the record of {op.name} fills other fields than its struct has"
    return [fields[k] for k in order]


def _labels(op: Op) -> list[str]:
    return [*(a.name for a in op.outs), *(a.name for a in op.ins if a.name in op.inout)]
