"""A pickle of plain dicts, lists, scalars and numpy arrays -> the same; nothing is imported or called.

The opcodes are interpreted here, one by one, so a hostile file can at worst be refused.
"""

from __future__ import annotations

import itertools
import math
import pickletools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mcugrad.errors import UserError
from mcugrad.ir.graph import Array

MAX_BYTES = 64 << 20
MAX_ITEMS = 1 << 20
_DTYPES = {"i1", "u1", "i2", "i4", "i8", "f4", "f8"}
_ARRAY_GLOBALS = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_GLOBALS = {*_ARRAY_GLOBALS, "numpy ndarray", "numpy dtype", "_codecs encode"}
_MARK = object()
Stack = list[Any]


class _RefusedError(Exception):
    """Why the file is not read; becomes a UserError that also names the file."""


class _Global(str):
    """A permitted global, by name; never the object itself."""


class _Dtype:
    def __init__(self, text: Any) -> None:
        if type(text) is not str or text not in _DTYPES:
            raise _RefusedError("a numpy dtype other than " + ", ".join(sorted(_DTYPES)))
        self.text: str = text

    def build(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", "|", "="):
            raise _RefusedError("numpy data that is not little-endian")


class _Array:
    """An array between REDUCE and BUILD; `array` is empty until its state arrives."""

    def __init__(self) -> None:
        self.array: Array = np.empty(0, np.int8)

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise _RefusedError("a numpy array whose state is not (version, shape, dtype, order, bytes)")
        _, shape, dtype, fortran, raw = state
        kind = np.dtype(f"<{dtype.text}")
        plain = type(shape) is tuple and len(shape) <= 8 and all(type(n) is int and n >= 0 for n in shape)
        if not plain or not isinstance(raw, bytes) or math.prod(shape) * kind.itemsize != len(raw):
            raise _RefusedError("a numpy array whose bytes do not fit its shape")
        self.array = np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")


def read_plain(data: bytes, where: str) -> Any:
    """The pickled value; UserError naming the global or opcode if it is anything but plain data."""
    try:
        with warnings.catch_warnings():
            # pickletools warns of odd escapes in a damaged name; the name is refused anyway.
            warnings.simplefilter("ignore", DeprecationWarning)
            return _finish(_run(data), itertools.count())
    except _RefusedError as error:
        raise UserError(f"the pickle asks for {error}", where, "use the model's original file") from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"the pickle is damaged ({error})", where, "fetch the file again") from None


def _run(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise _RefusedError(f"{len(data)} bytes, more than the {MAX_BYTES} that a model may take")
    stack: Stack = []
    memo: dict[int, Any] = {}
    for opcode, arg, _ in pickletools.genops(data):
        if opcode.name == "STOP":
            return stack.pop()
        _step(opcode.name, arg, stack, memo)
    raise _RefusedError("more data than the file holds")


def _step(name: str, arg: Any, stack: Stack, memo: dict[int, Any]) -> None:
    if name in _LITERALS:
        stack.append(arg)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name]())
    elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
        memo[len(memo) if name == "MEMOIZE" else arg] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[arg])
    elif name in _ACTIONS:
        _ACTIONS[name](arg, stack)
    elif name not in ("PROTO", "FRAME"):
        raise _RefusedError(f"the pickle operation {name}")


def _global(name: str, stack: Stack) -> None:
    if name not in _GLOBALS:
        raise _RefusedError(f"the global {name.replace(' ', '.')}")
    stack.append(_Global(name))


def _stack_global(_: Any, stack: Stack) -> None:
    name, module = stack.pop(), stack.pop()
    if type(name) is not str or type(module) is not str:
        raise _RefusedError("a global without a name")
    _global(f"{module} {name}", stack)


def _reduce(_: Any, stack: Stack) -> None:
    args, function = stack.pop(), stack.pop()
    if not isinstance(function, _Global) or not isinstance(args, tuple):
        raise _RefusedError("a call of something that is not a function")
    if function in _ARRAY_GLOBALS:
        stack.append(_Array())
    elif function == "numpy dtype":
        stack.append(_Dtype(args[0]))
    elif function == "_codecs encode" and args[1:] == ("latin1",) and type(args[0]) is str:
        stack.append(args[0].encode("latin1"))
    else:
        raise _RefusedError(f"a call of {function.replace(' ', '.')} with other arguments than numpy's")


def _build(_: Any, stack: Stack) -> None:
    state = stack.pop()
    if not isinstance(stack[-1], _Array | _Dtype):
        raise _RefusedError("state for something that is not a numpy array")
    stack[-1].build(state)


def _tuple(count: int) -> Callable[[Any, Stack], None]:
    def make(_: Any, stack: Stack) -> None:
        items = [stack.pop() for _ in range(count)]
        stack.append(tuple(reversed(items)))

    return make


def _since_mark(stack: Stack) -> list[Any]:
    items: list[Any] = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _append(items: list[Any], stack: Stack) -> None:
    if type(stack[-1]) is not list:
        raise _RefusedError("items for something that is not a list")
    stack[-1].extend(items)


def _set(items: list[Any], stack: Stack) -> None:
    keys = items[::2]
    # Only strings: the hash of nested tuples can take longer than the age of the universe.
    if type(stack[-1]) is not dict or not all(type(k) is str for k in keys):
        raise _RefusedError("a dict whose keys are not strings")
    stack[-1].update(zip(keys, items[1::2], strict=True))


def _finish(value: Any, visited: Iterator[int], depth: int = 0) -> Any:
    """Arrays in place of their stand-ins. Depth and count are bounded: shared lists can describe 2**99."""
    if depth > 8 or next(visited) > MAX_ITEMS:
        raise _RefusedError(f"containers nested more than 8 deep or more than {MAX_ITEMS} items")
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, dict):
        return {k: _finish(v, visited, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finish(v, visited, depth + 1) for v in value)
    if isinstance(value, _Dtype | _Global) or value is _MARK:
        raise _RefusedError("a bare numpy type")
    return value


_LITERALS = {
    *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": lambda: _MARK,
}
_ACTIONS: dict[str, Callable[[Any, Stack], None]] = {
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda _, stack: stack.append(tuple(_since_mark(stack))),
    "APPEND": lambda _, stack: _append([stack.pop()], stack),
    "APPENDS": lambda _, stack: _append(_since_mark(stack), stack),
    "SETITEM": lambda _, stack: _set([stack.pop(), stack.pop()][::-1], stack),
    "SETITEMS": lambda _, stack: _set(_since_mark(stack), stack),
}
