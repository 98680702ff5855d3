"""The memory map of boards/<id>.json, to the byte, and what every stray access becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcugrad import boards

from .conftest import Bare

PRECISE = 0x8200
BOARD = boards.load("nucleo_f746zg")
RAM_END = max(m.end for m in BOARD.ram)
OUTSIDE = {
    "past RAM": RAM_END,
    "below RAM": 0x1FFFFFFC,
    "past flash": BOARD.flash.end,
    "external": 0x60000000,
    "reserved peripheral": 0x40080000,
    "past the core's registers": 0xE0100000,
}


def faults(bare: Bare) -> list[dict[str, int | str]]:
    found = bare.control({"cmd": "faults"})["faults"]
    assert isinstance(found, list)
    return found


def in_function(bare: Bare, pc: int, name: str) -> bool:
    start, size = (bare.control({"cmd": "symbol", "name": name})[k] for k in ("address", "size"))
    return bool(0 <= pc - (start & ~1) < size)


@pytest.mark.parametrize("command", ["w", "r"])
@pytest.mark.parametrize("where", OUTSIDE)
def test_a_stray_access_is_a_precise_bus_fault(bare: Bare, where: str, command: str) -> None:
    address = OUTSIDE[where]
    marker, pc, cfsr, bfar = bare.ask(command, address, 1, count=4)
    assert (marker, cfsr, bfar) == (0xFA17, PRECISE, address)
    assert in_function(bare, pc, "start")
    assert [(f["kind"], f["pc"], f["address"]) for f in faults(bare)] == [("BusFault", pc, address)]


@pytest.mark.parametrize("address", [BOARD.flash.origin, BOARD.flash.origin + 0x1000, BOARD.flash.end - 4])
def test_flash_is_read_only(bare: Bare, address: int) -> None:
    before = bare.control({"cmd": "read_ram", "addr": address, "len": 4})
    marker, _, cfsr, bfar = bare.ask("w", address, 0x12345678, count=4)
    assert (marker, cfsr, bfar) == (0xFA17, PRECISE, address)
    assert bare.control({"cmd": "read_ram", "addr": address, "len": 4}) == before


@pytest.mark.parametrize("region", BOARD.ram, ids=lambda m: m.name)
def test_ram_answers_at_both_ends(bare: Bare, region: boards.Memory) -> None:
    for address in (region.end - 4, region.origin + region.size // 2):
        bare.ask("w", address, address ^ 0x5A5A5A5A)
        assert bare.ask("r", address) == (address ^ 0x5A5A5A5A,)


def test_the_map_has_the_sizes_of_the_board_file(bare: Bare) -> None:
    ram = bare.control({"cmd": "counters"})["ram"]
    assert [(r["name"], r["origin"], r["size"]) for r in ram] == [
        (m.name, m.origin, m.size) for m in BOARD.ram
    ]
    assert sum(r["size"] for r in ram) == 320 * 1024


def test_touched_counts_words_that_are_no_longer_paint(bare: Bare) -> None:
    before = bare.control({"cmd": "counters"})["ram"]
    for i in range(10):
        bare.ask("w", BOARD.ram[1].origin + 100 * 4 * i, i)
    after = bare.control({"cmd": "counters"})["ram"]
    assert [b["touched"] - a["touched"] for a, b in zip(before, after, strict=True)] == [0, 40, 0]


def test_stack_overflow_leaves_ram(bare: Bare) -> None:
    # The handler reads the frame, which lies below RAM too: a second fault, and the answer starts twice.
    assert bare.ask("d", 1000, count=2) == (0xFA17, 0xFA17)
    first = faults(bare)[0]
    assert first["kind"] == "BusFault"
    assert 0x20000000 - 64 <= int(first["address"]) < 0x20000000
    assert in_function(bare, int(first["pc"]), "deep")


def test_undefined_instruction_is_a_usage_fault(bare: Bare) -> None:
    marker, pc, cfsr, _ = bare.ask("u", count=4)
    assert (marker, cfsr) == (0xFA17, 1 << 16)
    assert in_function(bare, pc, "start")


def test_a_register_without_a_model_is_listed(bare: Bare) -> None:
    assert bare.ask("r", 0x40000024) == (0,)
    bare.ask("w", 0x40000000, 1)
    seen = bare.control({"cmd": "unmodelled"})["unmodelled"]
    assert ["read", 0x40000024, 1] in seen
    assert ["write", 0x40000000, 1] in seen


def test_a_block_whose_clock_is_off_is_reported(bare: Bare) -> None:
    bare.send("w", 0x40023840, 0)  # USART3: no answer is possible any more, the model still tells
    reports = bare.wait("faults", lambda f: f["reports"])["reports"]
    assert {r["kind"] for r in reports} == {"clock off"}
    assert "0x4000481c" in reports[0]["text"]


@pytest.mark.parametrize("machine", ["EM_X86_64"])
def test_the_compiled_map_is_checked_before_start(tmp_path: Path, machine: str) -> None:
    from mcugrad.emulator import image
    from mcugrad.errors import UserError

    other = tmp_path / "other.elf"
    other.write_bytes(Path("/proc/self/exe").read_bytes())
    with pytest.raises(UserError, match=machine):
        image.load(other, BOARD.id, BOARD.flash.origin, BOARD.flash.size)


def protect(bare: Bare, number: int, base: int, attributes: int) -> None:
    bare.ask("w", 0xE000ED9C, base | 16 | number)
    bare.ask("w", 0xE000EDA0, attributes)
    bare.ask("w", 0xE000ED94, 5)


NO_ACCESS, FULL_ACCESS = 1 << 28 | 1, 1 << 28 | 3 << 24 | 1


def size(log2: int) -> int:
    return (log2 - 1) << 1


def test_the_mpu_refuses_pages(bare: Bare) -> None:
    bare.ask("w", 0x100, 1)  # ITCM takes a write through a null pointer
    protect(bare, 0, 0, NO_ACCESS | size(32) | 0x87 << 8)
    protect(bare, 1, 0, NO_ACCESS | size(14))
    protect(bare, 2, 0x2000, FULL_ACCESS | size(10))
    bare.ask("w", 0x2000, 1)
    marker, _, cfsr, mmfar = bare.ask("w", 0x104, 1, count=4)
    assert (marker, cfsr, mmfar) == (0xFA17, 0x82, 0x104)
    assert faults(bare)[0]["kind"] == "MemManage"


def test_the_mpu_refuses_external_memory(bare: Bare) -> None:
    protect(bare, 0, 0, NO_ACCESS | size(32) | 0x87 << 8)
    assert bare.ask("r", 0x60000040, count=4)[2:] == (0x82, 0x60000040)


def test_the_stack_guard_stops_the_stack_pointer(bare: Bare) -> None:
    protect(bare, 2, 0x20000000, NO_ACCESS | size(5))
    bare.ask("d", 100)
    assert bare.ask("d", 253 + 100)[0] == 0xFA17
    assert faults(bare)[0]["kind"] == "MemManage"
    assert int(faults(bare)[0]["address"]) < 0x20000020


def test_strict_reports_pairs_that_are_not_on_a_word(bare: Bare) -> None:
    bare.control({"cmd": "strict"})
    bare.ask("a", 0x20010000)
    bare.ask("a", 0x20010002)
    counted = bare.control({"cmd": "strict", "on": False})["unaligned"]
    reports = bare.control({"cmd": "faults"})["reports"]
    assert [(r["kind"], r["text"].split()[0]) for r in reports] == [("unaligned", "ldrd")]
    assert counted == 3


def test_double_precision_is_reported_where_the_chip_has_none(bare: Bare) -> None:
    bare.ask("f")
    assert [r["kind"] for r in bare.control({"cmd": "faults"})["reports"]] == ["fpu"]


def test_a_wrong_rate_and_dma_behind_the_cache_are_reported(bare: Bare) -> None:
    bare.ask("w", 0xE000ED14, 1 << 16)  # data cache on
    bare.ask("w", 0x40026058, 1)
    bare.ask("w", 0x40026064, 0x20010000)
    bare.ask("w", 0x4002605C, 16)
    bare.ask("w", 0x40026058, 1)
    bare.send("w", 0x4000480C, 20)
    reports = bare.wait("faults", lambda f: len(f["reports"]) > 1)["reports"]
    assert sorted(r["kind"] for r in reports) == ["baud", "cache"]


def test_noinit_memory_differs_from_power_on_to_power_on(bare: Bare) -> None:
    first = bare.ask("b", count=2)[0]
    bare.control({"cmd": "power_cycle"})
    assert bare.ask("b", count=2)[0] != first
