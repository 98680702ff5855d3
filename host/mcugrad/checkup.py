"""A board at a port, looked at for the doctor: can it be opened, does it answer, what does it run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mcugrad import boards, paths
from mcugrad.errors import LinkError, McugradError, NoBoardError
from mcugrad.link.identity import WrongFirmwareError
from mcugrad.link.line import FaultError, Line, Timing
from mcugrad.link.messages import VERSION, Message
from mcugrad.link.ports import open_port

BAUDS = (921600, 115200, 460800, 1000000, 2000000)
_QUICK = Timing(hello=0.4, tries=2)


@dataclass(frozen=True)
class Finding:
    """One thing looked for. `fix` is empty where it is well; `needed` ones fail the check."""

    name: str
    found: str
    fix: str = ""
    needed: bool = True


def examine_board(port: str, about: str = "") -> Iterator[Finding]:
    """Opens the port and asks who is there; resets nothing."""
    head = f"{about}: " if about else ""
    try:
        baud, welcome = _ask(port)
    except NoBoardError as error:
        yield Finding(port, head + error.what, error.fix)
    except FaultError as fault:
        yield Finding(
            port, f"{head}the firmware has crashed at {fault.registers['pc']:#010x}", "press its reset button"
        )
    except LinkError as error:
        yield Finding(port, head + error.what, error.fix)
    else:
        yield from _firmware(port, head, baud, welcome)


def _ask(port: str) -> tuple[int, Message | None]:
    """The first rate at which somebody answers, and the answer."""
    for baud in BAUDS:
        opened = open_port(port, baud)
        try:
            if welcome := _hello(opened, port):
                return baud, welcome
        finally:
            opened.close()
    return 0, None


def _hello(opened: Any, port: str) -> Message | None:
    line = Line(opened, port, _QUICK)
    line.wake()
    try:
        return line.ask(Message("hello", {}), "welcome", _QUICK.hello)
    except FaultError:
        raise
    except LinkError as error:
        if "no answer" in error.what:
            return None
        raise


def _firmware(port: str, head: str, baud: int, welcome: Message | None) -> Iterator[Finding]:
    if welcome is None:
        fix = "flash it: pio run -e <board> -t upload, and press reset"
        yield Finding(port, f"{head}opens, but nothing that speaks mcugrad answers", fix)
        return
    if welcome["proto"] != VERSION:
        what = f"{head}its firmware speaks protocol {welcome['proto']}, this checkout {VERSION}"
        yield Finding(port, what, "flash the firmware of this checkout")
        return
    board, found = welcome["board"], welcome["model_hash"].hex()
    flash = f"pio run -e {board} -t upload"
    yield Finding(
        port, f"{head}{board} runs {welcome['model_name']} {found[:12]}, {welcome['applied']} steps trained"
    )
    if board in boards.known() and baud != boards.load(board).baud:
        yield Finding(
            f"{port} baud", f"answers at {baud}, boards/{board}.json says {boards.load(board).baud}", flash
        )
    built = built_hash(board)
    if built and built != found:
        yield Finding(f"{port} hash", f"runs {found[:12]}, the image built here is {built[:12]}", flash)


def check_image(port: str, elf: Path) -> str:
    """What the board says, where it runs the image's model; WrongFirmwareError or NoBoardError."""
    baud, welcome = _ask(port)
    wanted = image_hash(elf)
    if welcome is None:
        fix = "press its reset button; `mcugrad doctor` looks further"
        raise NoBoardError("the board does not answer after the upload", port, fix)
    found = welcome["model_hash"].hex() if welcome["proto"] == VERSION else f"protocol {welcome['proto']}"
    if found != wanted:
        what = f"the board answers with {found}, the image that was flashed is {wanted}"
        raise WrongFirmwareError(what, port, "check that --port is the board that was flashed")
    who = f"{welcome['board']} answers at {baud} baud"
    return f"  checked: {who} with the hash that was flashed, {found[:12]}"


def image_hash(elf: Path) -> str:
    """mg_model_hash of an image, 32 hex digits."""
    with elf.open("rb") as file:
        image = ELFFile(file)
        table = image.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbol = next(iter(table.get_symbol_by_name("mg_model_hash") or ()))
        home = image.get_section(symbol["st_shndx"])
        at = symbol["st_value"] - home["sh_addr"]
        return bytes(home.data()[at : at + symbol["st_size"]]).hex()


def built_hash(board: str) -> str | None:
    """Hash of the model that was last compiled for a board; None where none was."""
    manifest = paths.generated(board) / "manifest.json"
    return str(json.loads(manifest.read_text())["hash"]) if manifest.exists() else None


def main() -> int:
    """`python -m mcugrad.checkup PORT ELF`, as an upload asks."""
    try:
        print(check_image(sys.argv[1], Path(sys.argv[2])))
    except McugradError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
