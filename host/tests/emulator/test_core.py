"""Instruction counts, stack low water, interrupts, resets: against numbers worked out by hand."""

from __future__ import annotations

import time

import pytest
import serial

from .conftest import TIMEOUT, Bare


def calls(bare: Bare) -> list[tuple[str, int]]:
    return [(c["symbol"], c["instructions"]) for c in bare.control({"cmd": "counters"})["calls"]]


@pytest.mark.parametrize("rounds", [1, 2, 7, 1000])
def test_counts_every_instruction_of_a_call(bare: Bare, rounds: int) -> None:
    for name in ("plain_loop", "it_loop", "outer"):
        bare.control({"cmd": "watch", "symbol": name})
    bare.ask("c", rounds, count=2)
    bare.ask("i", rounds, count=2)
    assert calls(bare) == [("plain_loop", 3 * rounds + 3), ("it_loop", 10 * rounds + 3)]


def test_counts_nested_calls(bare: Bare) -> None:
    for name in ("outer", "plain_loop", "it_loop"):
        bare.control({"cmd": "watch", "symbol": name})
    bare.ask("o", 5)
    counted = dict(calls(bare))
    assert list(counted) == ["plain_loop", "it_loop", "outer"]
    # outer itself: push, mov, bl, mov, pop, b or the like
    assert 0 < counted["outer"] - counted["plain_loop"] - counted["it_loop"] < 10


def test_marks_hold_the_instructions_between_two_reads_of_cyccnt(bare: Bare) -> None:
    bare.ask("c", 10, count=2)
    bare.ask("c", 20, count=2)
    marks = bare.control({"cmd": "marks", "last": 4})["marks"]
    short, long = (marks[i + 1][0] - marks[i][0] for i in (0, 2))
    assert long - short == 30
    assert 33 < short < 40


def test_counts_and_cycles_of_a_window_repeat(bare: Bare) -> None:
    def windows() -> list[list[int]]:
        for rounds in (321, 4000, 321):
            bare.ask("i", rounds, count=2)
        marks = bare.control({"cmd": "marks", "last": 6})["marks"]
        return [[marks[i + 1][k] - marks[i][k] for k in (0, 1)] for i in (0, 2, 4)]

    first = windows()
    assert first[0] == first[2]
    bare.control({"cmd": "power_cycle"})
    assert windows() == first
    with serial.serial_for_url(bare.port.portstr, timeout=TIMEOUT) as other:
        bare = Bare(other)
        assert windows() == first


def test_cyccnt_is_the_estimate_that_the_host_sees(bare: Bare) -> None:
    elapsed, _ = bare.ask("i", 5000, count=2)
    first, second = bare.control({"cmd": "marks", "last": 2})["marks"]
    assert elapsed == second[1] - first[1]
    assert 3 * 5000 < elapsed < 12 * 5000


def test_stack_low_water_is_exact(bare: Bare) -> None:
    def used() -> int:
        return int(bare.control({"cmd": "counters"})["stack"]["bytes"])

    bare.ask("r", 0x08000000)
    resting = used()
    bare.ask("D")
    assert used() == resting + 64  # both pushes and both pops are in one block
    bare.ask("d", 100)
    assert used() == resting + 6400


def test_paint_and_stack_pointer_agree(bare: Bare) -> None:
    bare.ask("d", 100)
    stack = bare.control({"cmd": "counters"})["stack"]
    ram = bytes.fromhex(bare.control({"cmd": "read_ram", "addr": 0x20000000, "len": 0x4000})["data"])
    paint = next(i for i in range(0, 0x4000, 4) if ram[i : i + 4] != b"\xa5" * 4)
    # deep reserves 56 bytes a level that it never writes
    assert 0 <= 0x20000000 + paint - stack["low"] <= 56


def test_interrupts_change_nothing_but_time(bare: Bare) -> None:
    quiet, _ = bare.ask("m", 20000, 0, count=2)
    busy, ticks = bare.ask("m", 20000, 997, count=2)
    assert busy == quiet
    assert ticks > 100


def test_sleeps_until_the_tick(bare: Bare) -> None:
    assert bare.ask("s", 160_000) == (1,)
    assert bare.control({"cmd": "counters"})["idle_cycles"] > 100_000


def test_software_reset_and_reset_button_keep_ram(bare: Bare) -> None:
    first, flags = bare.ask("b", count=2)
    assert flags >> 27 & 1
    bare.send("R")
    bare.wait("counters", lambda c: c["resets"] == 1)
    boots, flags = bare.ask("b", count=2)
    assert (boots, flags >> 28 & 1, flags >> 27 & 1) == (first + 1, 1, 0)
    bare.control({"cmd": "reset"})
    boots, flags = bare.ask("b", count=2)
    assert (boots, flags >> 26 & 7) == (first + 2, 1)
    assert bare.control({"cmd": "counters"})["resets"] == 2


def test_board_time_follows_the_wall_clock_while_the_host_is_silent(bare: Bare) -> None:
    bare.ask("r", 0x08000000)
    before, start = bare.control({"cmd": "counters"}), time.perf_counter()
    time.sleep(0.3)
    after, seconds = bare.control({"cmd": "counters"}), time.perf_counter() - start
    board_seconds = (after["cycles"] - before["cycles"]) / after["cpu_hz"]
    assert 0.5 * seconds < board_seconds < 2 * seconds


def test_a_clock_that_flash_and_regulator_cannot_follow_is_reported(bare: Bare) -> None:
    for address, value in ((0x40023804, 9 << 24 | 216 << 6 | 8), (0x40023800, 1 << 24 | 1)):
        bare.ask("w", address, value)
    bare.send("w", 0x40023808, 2)
    reports = bare.wait("faults", lambda f: len(f["reports"]) > 1)["reports"]
    texts = [r["text"] for r in reports if r["kind"] == "clock"]
    assert any("0 flash wait states, needs 7" in t for t in texts)
    assert any("without over-drive" in t for t in texts)
    assert bare.control({"cmd": "counters"})["cpu_hz"] == 216_000_000
