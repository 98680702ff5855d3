"""A FAULT's registers -> what happened and in which function, by the ELF's symbols."""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mcugrad.errors import LinkError
from mcugrad.link.line import FaultError
from mcugrad.link.messages import Message

# Armv7-M Architecture Reference Manual, B3.2.15: configurable fault status register.
_CAUSES = {
    0: "instruction fetch from forbidden memory",
    1: "access to forbidden memory",
    3: "forbidden memory on return from an exception",
    4: "stack overflow on exception entry",
    5: "forbidden memory while saving FPU registers",
    8: "instruction fetch failed on the bus",
    9: "read or write failed on the bus",
    10: "late write failed on the bus",
    12: "bus error on exception entry (stack)",
    16: "undefined instruction",
    17: "jump to a non-Thumb address",
    18: "bad return address of an exception",
    19: "coprocessor or FPU not enabled",
    24: "unaligned access",
    25: "division by zero",
}
_MMFAR_VALID, _BFAR_VALID = 1 << 7, 1 << 15


def explain(fault: FaultError, elf: Path | None) -> LinkError:
    """The crash in words: cause, function, address."""
    registers = fault.registers
    where = f"{symbol(elf, registers['pc'])}, called from {symbol(elf, registers['lr'])}"
    numbers = " ".join(f"{name}={registers[name]:#010x}" for name in ("pc", "lr", "sp", "cfsr", "hfsr"))
    what = f"the firmware crashed: {_cause(registers)} ({numbers})"
    return LinkError(what, where, "reset the board; report this line with the command that led to it")


def _cause(registers: Message) -> str:
    cfsr = registers["cfsr"]
    causes = [text for bit, text in _CAUSES.items() if cfsr >> bit & 1] or ["hard fault"]
    if cfsr & _MMFAR_VALID:
        causes.append(f"at {registers['mmfar']:#010x}")
    elif cfsr & _BFAR_VALID:
        causes.append(f"at {registers['bfar']:#010x}")
    return " ".join(causes)


def symbol(elf: Path | None, address: int) -> str:
    """`function+offset` of a code address; the bare address where the ELF does not tell."""
    try:
        found = _nearest(elf, address & ~1) if elf else None
    except (OSError, ELFError):
        found = None
    return f"{found[0]}+{(address & ~1) - found[1]:#x}" if found else f"{address:#010x}"


def _nearest(elf: Path, address: int) -> tuple[str, int] | None:
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        for entry in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
            start, size = entry["st_value"] & ~1, entry["st_size"]
            if entry["st_info"]["type"] == "STT_FUNC" and start <= address < start + max(size, 2):
                return entry.name, start
    return None
