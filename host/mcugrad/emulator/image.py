"""Firmware ELF -> what flash holds, symbols; refuses an image that was linked for another chip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mcugrad.errors import UserError


@dataclass(frozen=True)
class Image:
    """segments: (load address, bytes); symbols: name -> (address, size); noinit: (address, size)."""

    path: Path
    segments: tuple[tuple[int, bytes], ...]
    symbols: dict[str, tuple[int, int]]
    noinit: tuple[int, int]


def load(path: Path, board: str, origin: int, size: int) -> Image:
    """Read an ELF whose every loaded byte lies in flash [origin, origin + size); UserError else."""
    if not path.is_file():
        raise UserError("no firmware image for the emulated board", str(path), f"scons BOARD={board}")
    try:
        with path.open("rb") as stream:
            image = _parse(path, ELFFile(stream))
    except ELFError as error:
        raise UserError(f"not an ELF file: {error}", str(path), f"scons BOARD={board}") from error
    for start, data in image.segments:
        if not origin <= start <= start + len(data) <= origin + size:
            where = f"{path}: {len(data)} bytes at {start:#010x}, flash is {origin:#010x} + {size}"
            raise UserError(f"the image does not fit {board}'s flash", where, f"scons BOARD={board}")
    if not image.segments or image.segments[0][0] != origin:
        raise UserError(
            "the image has no vector table at the start of flash", str(path), f"scons BOARD={board}"
        )
    return image


def _parse(path: Path, elf: ELFFile) -> Image:
    if elf["e_machine"] != "EM_ARM" or elf.elfclass != 32:
        raise UserError(
            f"an image for {elf['e_machine']}, not for a Cortex-M7", str(path), "arm-none-eabi-gcc"
        )
    loaded = [s for s in elf.iter_segments("PT_LOAD") if s["p_filesz"]]
    segments = sorted((int(s["p_paddr"]), bytes(s.data())) for s in loaded)
    kept = elf.get_section_by_name(".noinit")
    noinit = (int(kept["sh_addr"]), int(kept["sh_size"])) if kept else (0, 0)
    return Image(path, tuple(segments), _symbols(elf), noinit)


def _symbols(elf: ELFFile) -> dict[str, tuple[int, int]]:
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return {}
    return {
        s.name: (int(s["st_value"]), int(s["st_size"]))
        for s in table.iter_symbols()
        if s.name and s.name[0] != "$"
    }
