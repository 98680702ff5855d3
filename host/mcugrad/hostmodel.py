"""Run the generated C on this machine, node by node if wanted: the second execution, equal to the oracle."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad import paths
from mcugrad.codegen.params import state_tensors, view
from mcugrad.hostlib import build_library, build_object, native
from mcugrad.ir import DType
from mcugrad.ir.graph import Array

INT_MAX = 2**31 - 1
ON_NODE = ctypes.CFUNCTYPE(None, ctypes.c_int)
ON_STEP = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int)


class Result(ctypes.Structure):
    """mg_result: loss and predicted class."""

    _fields_ = [("loss", ctypes.c_float), ("predicted", ctypes.c_int32)]


class HostModel:
    """A generated folder as a shared library. Its state starts as the params were at compile time."""

    def __init__(self, folder: Path, library: Path) -> None:
        """Compile `folder`/*.c with the kernels into `library`. Raises UserError without a C compiler."""
        kernels = build_object(
            sorted(paths.KERNELS.glob("*.c")), [paths.KERNELS], paths.BUILD / "host", ["MG_WIDE=1"], native()
        )
        sources, includes = sorted(folder.glob("*.c")), [folder, paths.KERNELS, paths.FIRMWARE]
        self.lib = build_library([*sources, kernels], includes, library, ["MG_HOST"])
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        self.lib.mg_step.argtypes = [ctypes.c_uint32, ctypes.c_float, ctypes.POINTER(Result)]
        self.lib.mg_forward.argtypes = [ctypes.c_uint32, ctypes.POINTER(Result)]
        self.lib.mg_take.argtypes = [ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint32]
        self._arena = (ctypes.c_uint8 * self.manifest["arena_bytes"]).in_dll(self.lib, "mg_arena")
        self._first, self._last = (ctypes.c_int.in_dll(self.lib, name) for name in ("mg_first", "mg_last"))
        self._from_front = self._spans(self.manifest["front"]["spans"])

    def step(self, x: Array, label: int, lr: float) -> Result:
        """One training step on an int8 sample."""
        self._load(x)
        return self._step(label, lr)

    def forward(self, x: Array, label: int) -> Result:
        """Loss and prediction; changes nothing."""
        self._load(x)
        return self._forward(label)

    def front(self, x: Array) -> bytes:
        """Run an int8 sample through what training never changes; all that the other nodes read of it."""
        self._load(x)
        with self._nodes(last=self.manifest["front"]["nodes"]):
            self._forward(0)
        return b"".join(ctypes.string_at(address, size) for address, size in self._from_front)

    def step_from(self, front: bytes, label: int, lr: float) -> Result:
        """The step of the sample that gave `front`."""
        self._put(front)
        with self._nodes(first=self.manifest["front"]["nodes"]):
            return self._step(label, lr)

    def forward_from(self, front: bytes, label: int) -> Result:
        """The forward pass of the sample that gave `front`."""
        self._put(front)
        with self._nodes(first=self.manifest["front"]["nodes"]):
            return self._forward(label)

    def state(self) -> dict[str, Array]:
        """A copy of every trained tensor."""
        return state_tensors(self.state_bytes(), self.manifest)

    def state_bytes(self) -> bytes:
        return bytes((ctypes.c_uint8 * self.manifest["state_bytes"]).in_dll(self.lib, "mg_state"))

    def restore(self, state: bytes) -> None:
        """Put back what `state_bytes` gave."""
        ctypes.memmove((ctypes.c_uint8 * len(state)).in_dll(self.lib, "mg_state"), state, len(state))

    def value(self, dtype: DType, shape: tuple[int, ...], offset: int) -> Array:
        """What the arena holds right now at a value's offset."""
        return view(bytes(self._arena), dtype.value, shape, offset)

    def on_node(self, call: Callable[[int], None] | None) -> None:
        """Have `call(i)` called after node i of every run."""
        self._node_hook = ON_NODE(call) if call else ON_NODE()
        self._hook("mg_on_node", self._node_hook)

    def on_step(self, call: Callable[[int, int], None] | None) -> None:
        """Have `call(k, i)` called before step i of stream k of every run."""
        self._step_hook = ON_STEP(call) if call else ON_STEP()
        self._hook("mg_on_step", self._step_hook)

    def arena(self) -> Array:
        """The arena's bytes, not a copy."""
        return np.frombuffer(self._arena, np.uint8)

    def _hook(self, name: str, call: Any) -> None:
        ctypes.c_void_p.in_dll(self.lib, name).value = ctypes.cast(call, ctypes.c_void_p).value

    def _load(self, x: Array) -> None:
        self.lib.mg_take(np.ascontiguousarray(x, np.int8).tobytes(), 0, self.manifest["input"]["bytes"])

    def _step(self, label: int, lr: float) -> Result:
        result = Result()
        self.lib.mg_step(label, lr, ctypes.byref(result))
        return result

    def _forward(self, label: int) -> Result:
        result = Result()
        self.lib.mg_forward(label, ctypes.byref(result))
        return result

    def _spans(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """(offset in the arena, size) -> (address, size)."""
        base = ctypes.addressof(self._arena)
        return [(base + offset, size) for offset, size in spans]

    def _put(self, front: bytes) -> None:
        at = 0
        for address, size in self._from_front:
            ctypes.memmove(address, front[at : at + size], size)
            at += size

    @contextmanager
    def _nodes(self, first: int = 0, last: int = INT_MAX) -> Iterator[None]:
        """Run only nodes first <= i < last inside."""
        self._first.value, self._last.value = first, last
        try:
            yield
        finally:
            self._first.value, self._last.value = 0, INT_MAX
