"""Generated C -> image: runs scons, measures the image by region, and checks what the chip cannot execute."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from mcugrad.boards import Board, load
from mcugrad.errors import InternalError, OutOfMemoryError, UserError
from mcugrad.paths import BUILD, ROOT, generated

_DOUBLE = re.compile(r"^\s*([0-9a-f]+):.*\t(v\w+\.f64\S*.*)$", re.MULTILINE)
_USER_ERROR = re.compile(r"^(.*)\n +where: (.*)\n +fix: +(.*)", re.MULTILINE)
_OVERFLOW = re.compile(r"region `(\w+)' overflowed by (\d+) bytes?")


@dataclass(frozen=True)
class Size:
    """Bytes of one image. `static`: RAM that is neither arena nor stack; `ram`: bytes by linker region."""

    flash: int
    static: int
    arena: int
    stack: int
    sections: dict[str, int]
    ram: dict[str, int]

    @property
    def total(self) -> int:
        """All RAM that is spoken for, with the whole stack."""
        return self.static + self.arena + self.stack


def build(board: str, gen: Path | None = None, out: Path | None = None) -> Path:
    """Compile and link one board's image from the C in `gen`; the path of firmware.elf.

    OutOfMemoryError says by how much it does not fit.
    """
    out = out or BUILD / board
    return _scons(load(board), out, f"GEN={gen or generated(board)}") / "firmware.elf"


def build_kernel_tests(board: str, out: Path) -> Path:
    """The image that runs the kernels' vectors; the path of kernels.elf."""
    return _scons(load(board), out, "KERNELS=1") / "kernels.elf"


def _scons(board: Board, out: Path, what: str) -> Path:
    options = ["-Q", "-s", f"-j{os.cpu_count() or 1}", "-C", str(ROOT)]
    command = [sys.executable, "-m", "SCons", *options, f"BOARD={board.id}", f"OUT={out}", what]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise _explain(board, done.stdout + done.stderr, done.returncode)
    for elf in out.glob("*.elf"):
        check_single_precision(elf, board)
    return out


def _explain(board: Board, words: str, code: int) -> Exception:
    overflows = {name: int(excess) for name, excess in _OVERFLOW.findall(words)}
    if overflows:
        excess = ", ".join(f"{n} bytes more {name} than there is" for name, n in overflows.items())
        fix = "choose a scheme that trains less, a smaller network, or a larger board"
        return OutOfMemoryError(f"the image needs {excess}", f"{board.id}: {_memories(board)}", fix)
    if code in (2, 3) and (known := _USER_ERROR.search(words)):
        return UserError(known[1], known[2], known[3])
    return InternalError(f"the firmware of {board.id} does not build:\n{words}")


def _memories(board: Board) -> str:
    return ", ".join(f"{m.name} {m.size}" for m in (board.flash, *board.regions))


def size(elf: Path, board: Board) -> Size:
    """Measure an image, from its section headers."""
    with elf.open("rb") as file:
        sections = {name: (origin, n) for name, origin, n in _allocated(ELFFile(file))}
    flash, ram = 0, dict.fromkeys((m.name for m in board.regions), 0)
    for name, (origin, n) in sections.items():
        home = next((m.name for m in board.regions if m.origin <= origin < m.end), None)
        if home:
            ram[home] += n
        flash += n if home is None or name in (".data", ".mg_state") else 0
    sizes = {name: n for name, (_, n) in sections.items()}
    static = sum(sizes.get(name, 0) for name in (".dma", ".noinit", ".bss", ".data", ".mg_state"))
    return Size(flash, static, sizes.get(".arena", 0), sizes.get(".stack", 0), sizes, ram)


def _allocated(elf: ELFFile) -> Iterator[tuple[str, int, int]]:
    for section in elf.iter_sections():
        if section["sh_flags"] & 2:
            yield section.name, section["sh_addr"], section["sh_size"]


def check_single_precision(elf: Path, board: Board) -> None:
    """InternalError where an image for a chip without a double-precision FPU has an instruction for one."""
    if board.fpu != "fpv5-sp-d16":
        return
    text = subprocess.run(
        ["arm-none-eabi-objdump", "-d", str(elf)], capture_output=True, text=True, check=True
    )
    found = _DOUBLE.search(text.stdout)
    if found:
        raise InternalError(
            f"{found[2].strip()} at 0x{found[1]}: the FPU of {board.id} has no doubles\n  where: {elf}"
        )
