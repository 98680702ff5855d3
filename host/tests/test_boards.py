from __future__ import annotations

import configparser
import json
import re
from dataclasses import replace

import pytest

from mcugrad import boards
from mcugrad.errors import UsageError, UserError
from mcugrad.paths import BOARDS, FIRMWARE, ROOT

ALL = boards.known()


def test_knows_the_five() -> None:
    assert ALL == ["disco_f746ng", "nucleo_f746zg", "nucleo_h743zi", "nucleo_h743zi2", "openmv_h7"]


def test_f746_memories() -> None:
    board = boards.load("nucleo_f746zg")
    assert (board.ram_bytes, board.flash.size, board.cpu_hz) == (320 * 1024, 1 << 20, 216_000_000)
    assert [(m.name, m.origin, m.size) for m in board.regions] == [("RAM", 0x20000000, 320 * 1024)]
    assert board.place == {"dma": "DTCM"}
    assert {m.name for m in board.homes({"arena": 200_000, "state": 100_000}).values()} == {"RAM"}


def test_h743_memories_are_apart() -> None:
    board = boards.load("nucleo_h743zi2")
    assert [m.name for m in board.regions] == ["DTCM", "AXI", "SRAM123"]
    assert board.place == {"dma": "SRAM123"}


@pytest.mark.parametrize(
    ("arena", "state", "homes"),
    [
        (60, 50, ["DTCM", "DTCM"]),
        (60, 66, ["DTCM", "AXI"]),
        (125, 1, ["AXI", "DTCM"]),
        (400, 200, ["AXI", "SRAM123"]),
        (400, 110, ["AXI", "DTCM"]),
        (600, 1, ["AXI", "DTCM"]),
    ],
)
def test_the_hot_part_gets_the_fast_memory_that_holds_it(arena: int, state: int, homes: list[str]) -> None:
    """Sizes in KB, of 128 DTCM, 512 AXI, 288 SRAM123; what fits nowhere gets the largest, to be refused."""
    board = boards.load("nucleo_h743zi")
    found = board.homes({"arena": arena << 10, "state": state << 10})
    assert [found["arena"].name, found["state"].name] == homes
    told = replace(board, place={**board.place, "state": "SRAM123"})
    assert told.homes({"arena": arena << 10, "state": state << 10})["state"].name == "SRAM123"


def test_unknown_board_names_the_known() -> None:
    with pytest.raises(UsageError, match="nucleo_f746zg") as error:
        boards.load("nucleo_f999")
    assert error.value.exit_code == 2


def test_missing_key_names_file_and_key(tmp_path, monkeypatch) -> None:
    manifest = json.loads((BOARDS / "nucleo_f746zg.json").read_text())
    del manifest["mcugrad"]["baud"]
    (tmp_path / "mine.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(boards, "BOARDS", tmp_path)
    with pytest.raises(UserError, match=r"(?s)lacks 'baud'.*mine\.json"):
        boards.load("mine")


@pytest.mark.parametrize("board", ALL)
def test_manifest_is_consistent(board: str) -> None:
    manifest, ours = json.loads((BOARDS / f"{board}.json").read_text()), boards.load(board)
    assert manifest["upload"]["maximum_ram_size"] == ours.ram_bytes
    assert manifest["upload"]["maximum_size"] == ours.flash.size == sum(ours.flash_sectors)
    assert manifest["build"]["f_cpu"] == f"{ours.cpu_hz}L"
    assert (FIRMWARE / "chip" / f"{ours.chip}.c").exists()


@pytest.mark.parametrize("board", ALL)
def test_the_dma_ring_lies_where_dma_and_cache_agree(board: str) -> None:
    ours = boards.load(board)
    home = next(m for m in ours.ram if m.name == ours.place["dma"])
    assert home.dma
    assert not home.cached


@pytest.mark.parametrize("board", ALL)
def test_header_and_manifest_name_the_same_pins(board: str) -> None:
    ours, text = boards.load(board), boards.header(board).read_text()
    keys = dict(re.findall(r"#define BOARD_(\w+) '?(\w+)'?", text))
    assert ours.uart.name == f"USART{keys['UART']}"
    assert ours.uart.tx == f"P{keys['TX_PORT']}{keys['TX_PIN']}"
    assert ours.uart.rx == f"P{keys['RX_PORT']}{keys['RX_PIN']}"


def test_every_board_has_its_platformio_environment() -> None:
    ini = configparser.ConfigParser(inline_comment_prefixes=";")
    ini.read(ROOT / "platformio.ini")
    envs = {name.removeprefix("env:"): dict(ini[name]) for name in ini.sections() if name.startswith("env:")}
    real = {name: keys["board"] for name, keys in envs.items() if not name.startswith("emu_")}
    assert real == {board: board for board in ALL}
    emulated = {name: keys for name, keys in envs.items() if name.startswith("emu_")}
    assert all(name == f"emu_{keys['board']}" for name, keys in emulated.items())
    assert all(keys["upload_protocol"] == "emulator" for keys in emulated.values())
