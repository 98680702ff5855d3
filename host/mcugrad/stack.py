"""The deepest the stack can get, from an image's machine code: frames, calls, and what pointers may call.

A frame is the sum of all that a function pushes, so it is never too small. It is read from the code and not
from the compiler, so that it covers the C library too.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mcugrad.errors import InternalError, OutOfMemoryError

RESET = "reset_handler"  # no interrupt is ever enabled: all that runs is below it
GUARD = 32  # bytes below the stack that stop the chip
_HEAD = re.compile(r"^([0-9a-f]{8}) <([^>]+)>:$")
_CODE = re.compile(r"^ *[0-9a-f]+:\t[0-9a-f ]+\t(\S+)(?:\t([^@;]*))?")
_TARGET = re.compile(r"\b([0-9a-f]+) <")
_JUMP = re.compile(r"(bl|b|b(eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)|cbn?z)(\.[nw])?$")
_PUSH = re.compile(r"(push|vpush|v?stmdb)(\.w)?$")


@dataclass
class Function:
    """Bytes of its frame; functions it calls or jumps to; those whose address it holds, which it may pass on.

    indirect: it calls through a pointer. unknown: an instruction moves the stack by what only the run tells.
    """

    own: int = 0
    calls: set[str] = field(default_factory=set)
    takes: set[str] = field(default_factory=set)
    indirect: bool = False
    unknown: str = ""


@dataclass(frozen=True)
class Deepest:
    """Bytes, and the chain of calls that needs them."""

    bytes: int
    chain: tuple[str, ...]


def fit(elf: Path, reserved: int) -> str:
    """One line on the deepest stack. OutOfMemoryError where it may reach the guard of the bytes reserved."""
    found = deepest(read(elf))
    chain = " > ".join(found.chain)
    if found.bytes > reserved - GUARD:
        what = f"the stack may take {found.bytes:,} of {reserved - GUARD:,} bytes"
        raise OutOfMemoryError(what, chain, "reserve more in the board's file, or make its frames smaller")
    return f"stack at most {found.bytes:,} of {reserved:,}: {chain}"


def deepest(functions: Mapping[str, Function], root: str = RESET) -> Deepest:
    """From the entry of `root`. InternalError for recursion, or a frame whose size only the run tells."""
    known: dict[str, Deepest] = {}

    def of(name: str, above: tuple[str, ...]) -> Deepest:
        if name in above:
            raise InternalError(f"the stack has no bound: {' -> '.join((*above, name))}")
        if name not in known:
            function = functions[name]
            if function.unknown:
                raise InternalError(f"the stack has no bound: {function.unknown} in {name}")
            called = sorted(function.calls | _pointed(functions, name))
            below = [of(callee, (*above, name)) for callee in called]
            worst = max(below, key=lambda d: d.bytes, default=Deepest(0, ()))
            known[name] = Deepest(function.own + worst.bytes, (name, *worst.chain))
        return known[name]

    return of(root, ())


def _pointed(functions: Mapping[str, Function], name: str) -> set[str]:
    """What a call through a pointer may reach: functions that the caller, or else the nearest of its own
    callers that have any, holds the address of."""
    level = {name} if functions[name].indirect else set()
    seen: set[str] = set()
    while level:
        if taken := set().union(*(functions[n].takes for n in level)):
            return taken
        seen |= level
        level = {n for n, f in functions.items() if f.calls & level} - seen
    if functions[name].indirect:
        raise InternalError(f"{name} calls through a pointer that nobody sets")
    return set()


def read(elf: Path) -> dict[str, Function]:
    """All functions of an image by name; by name and address where a name is of several."""
    done = subprocess.run(
        ["arm-none-eabi-objdump", "-d", str(elf)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    homes = _homes([(int(head[1], 16), head[2]) for head in map(_HEAD.match, lines) if head])
    with elf.open("rb") as file:
        pointers = _pointers(ELFFile(file), homes)
    functions = {name: Function() for name in homes.values()}
    name, low = "", dict[str, int]()
    for line in lines:
        if head := _HEAD.match(line):
            name, low = homes[int(head[1], 16)], {}
        elif code := _CODE.match(line):
            op, operands = code[1], (code[2] or "").strip()
            _account(functions[name], op, operands)
            if target := _called(op, operands, name, homes):
                functions[name].calls.add(target)
            for value in _constants(op, operands, low):
                functions[name].takes |= pointers.get(value, set())
    return functions


def _homes(heads: Sequence[tuple[int, str]]) -> dict[int, str]:
    """Start -> a name that no other function has."""
    count = Counter(name for _, name in heads)
    return {at: name if count[name] == 1 else f"{name}@{at:x}" for at, name in heads}


def _called(op: str, operands: str, name: str, homes: Mapping[int, str]) -> str | None:
    """The function that a call or a jump out of the function `name` leads to."""
    target = _TARGET.search(operands) if _JUMP.match(op) else None
    if not target:
        return None
    found = homes[max(at for at in homes if at <= int(target[1], 16))]
    return found if found != name or op == "bl" else None


def _pointers(elf: ELFFile, homes: Mapping[int, str]) -> dict[int, set[str]]:
    """Constant -> functions it leads to: their own address, or one within a table of them."""
    table = elf.get_section_by_name(".symtab")
    symbols = (
        [s for s in table.iter_symbols() if s["st_size"]] if isinstance(table, SymbolTableSection) else []
    )
    code = {at | 1: {name} for at, name in homes.items()}
    found = dict(code)
    for s in (s for s in symbols if s["st_info"]["type"] == "STT_OBJECT" and s["st_size"] >= 4):
        words = _words(elf, s["st_value"], s["st_size"])
        led = set().union(*(code.get(w, set()) for w in words))
        if led:
            found |= dict.fromkeys(range(s["st_value"], s["st_value"] + s["st_size"]), led)
    return found


def _words(elf: ELFFile, at: int, size: int) -> Iterator[int]:
    for section in elf.iter_sections():
        start, length = section["sh_addr"], section["sh_size"]
        if section["sh_type"] == "SHT_PROGBITS" and start <= at and at + size <= start + length and start:
            data = section.data()[at - start : at - start + size]
            yield from (int.from_bytes(data[i : i + 4], "little") for i in range(0, size - 3, 4))


def _account(function: Function, op: str, operands: str) -> None:
    """What one instruction means for the stack."""
    if _PUSH.match(op) and ("push" in op or operands.startswith("sp!")):
        function.own += _registers(operands)
    elif op.startswith("sub") and re.match(r"sp\b", operands):
        amount = re.search(r"#(\d+)$", operands)
        function.own += int(amount[1]) if amount else 0
        function.unknown = function.unknown or ("" if amount else f"{op} {operands}")
    elif op.startswith("mov") and operands.startswith("sp,"):
        function.unknown = f"{op} {operands}"
    elif down := re.search(r"\[sp, #-(\d+)\]!", operands):
        function.own += int(down[1])
    elif op == "blx" or (op == "bx" and operands != "lr"):
        function.indirect = True


def _registers(operands: str) -> int:
    """Bytes of a register list: {r4, r5, lr}, {d8-d11}."""
    total = 0
    for item in operands[operands.index("{") + 1 : operands.index("}")].split(","):
        first, _, last = item.strip().partition("-")
        count = int(last[1:]) - int(first[1:]) + 1 if last else 1
        total += count * (8 if first.startswith("d") else 4)
    return total


def _constants(op: str, operands: str, low: dict[str, int]) -> Iterator[int]:
    """Words that a function holds: of its literal pool, or made by movw and movt."""
    if op == ".word":
        yield int(operands, 16)
    elif (half := re.match(r"(\w+), #(\d+)$", operands)) and op in ("movw", "movt"):
        if op == "movw":
            low[half[1]] = int(half[2])
        else:
            yield low.get(half[1], 0) | int(half[2]) << 16
