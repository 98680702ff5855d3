"""emu:// as a serial port: every byte, in order, at the line's pace; no process outlives its host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import serial

from mcugrad.emulator import image
from mcugrad.errors import UserError

from .conftest import TIMEOUT, Bare

RING = 509


@pytest.mark.parametrize("length", [1, RING - 1, RING, RING + 1, 2 * RING, 3 * RING + 7, 10007])
def test_the_ring_wraps_at_any_byte(bare: Bare, length: int) -> None:
    data = os.urandom(length)
    bare.send("p", length)
    bare.port.write(data)
    assert bare.words(1) == (zlib.crc32(data),)


def test_a_48_kb_push_arrives_whole(bare: Bare, record_property: Any) -> None:
    data = os.urandom(48 * 1024)
    start = time.perf_counter()
    bare.send("p", len(data))
    bare.port.write(data)
    assert bare.words(1) == (zlib.crc32(data),)
    seconds = time.perf_counter() - start
    record_property("push_seconds", seconds)
    print(f"48 KB in {seconds:.3f} s")
    counters = bare.control({"cmd": "counters"})
    assert counters["uart"]["overruns"] == counters["uart"]["dropped"] == 0
    assert counters["cycles"] > 48 * 1024 * 170  # ten bits of 17 clocks a byte: paced in the board's time


def test_bytes_that_came_while_the_machine_was_busy_keep_the_lines_pace(bare: Bare) -> None:
    """The board asleep, the host's scheduler elsewhere: not all of them are due when it wakes."""
    data, child = os.urandom(3 * RING), bare.port._child.pid
    bare.send("p", len(data))
    time.sleep(0.1)
    os.kill(child, signal.SIGSTOP)
    bare.port.write(data)
    time.sleep(0.2)
    os.kill(child, signal.SIGCONT)
    assert bare.words(1) == (zlib.crc32(data),)


def test_bytes_that_nobody_takes_are_overrun(bare: Bare) -> None:
    """The DMA ring has no end: 600 bytes into 509 while the core computes lose the oldest, as on the chip."""
    bare.send("m", 200_000)
    bare.port.write(b"\0" * 600)
    bare.words(2)
    assert bare.control({"cmd": "counters"})["uart"]["received"] >= 9


def test_timeouts_and_waiting_bytes(bare: Bare) -> None:
    port = bare.port
    port.timeout = 0.05
    start = time.perf_counter()
    assert port.read(1) == b""
    assert 0.04 < time.perf_counter() - start < 1
    port.timeout = TIMEOUT
    bare.send("r", 0x08000000)
    end = time.perf_counter() + TIMEOUT
    while port.in_waiting < 4 and time.perf_counter() < end:
        time.sleep(0.001)
    assert port.in_waiting == 4
    port.reset_input_buffer()
    assert port.in_waiting == 0


def test_speed_is_worth_using(bare: Bare) -> None:
    bare.control({"cmd": "watch", "symbol": "mixed"})
    start = time.perf_counter()
    bare.ask("m", 4_000_000, 0, count=2)
    seconds = time.perf_counter() - start
    mips = bare.control({"cmd": "counters"})["calls"][-1]["instructions"] / seconds / 1e6
    print(f"{mips:.0f} MIPS while counting")
    assert mips > 10


def test_idle_costs_little(bare: Bare) -> None:
    pid = bare.port._child.pid

    def ticks() -> int:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))

    bare.ask("r", 0x08000000)
    before = ticks()
    time.sleep(1)
    assert ticks() - before < 0.25 * os.sysconf("SC_CLK_TCK")


def test_the_child_dies_with_its_host(bare_elf: Path) -> None:
    program = (
        "import serial, sys, time\n"
        "serial.protocol_handler_packages.append('mcugrad.emulator.urlhandler')\n"
        f"port = serial.serial_for_url('emu://nucleo_f746zg?elf={bare_elf}')\n"
        "print(port._child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    path = str(Path(__file__).parents[2])
    host = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert host.stdout is not None
    child = int(host.stdout.readline())
    host.kill()
    host.communicate()
    assert gone(child)


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_close_ends_the_child(bare_elf: Path) -> None:
    port: Any = serial.serial_for_url(f"emu://nucleo_f746zg?elf={bare_elf}")
    pid = port._child.pid
    port.close()
    assert gone(pid)
    with pytest.raises(serial.SerialException):
        port.read(1)


def test_a_pty_serves_other_programs(bare_elf: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mcugrad.emulator",
        "--board",
        "nucleo_f746zg",
        "--elf",
        str(bare_elf),
        "--pty",
    ]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    board = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
    assert board.stdout is not None
    try:
        name = board.stdout.readline().decode().strip()
        with serial.Serial(name, timeout=TIMEOUT) as port:
            port.write(b"r" + (0x08000000).to_bytes(4, "little") + bytes(4))
            assert port.read(4) == (0x20004000).to_bytes(4, "little")
    finally:
        board.kill()
        board.communicate()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("emu://nucleo_f746zg?elf=/nowhere/firmware.elf", "scons BOARD=nucleo_f746zg"),
        ("emu://no_such_board", "nucleo_f746zg"),
        ("emu://nucleo_f746zg?image=x", "elf=PATH"),
    ],
)
def test_a_wrong_url_says_what_to_do(url: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        serial.serial_for_url(url)


def test_an_image_for_another_machine_is_refused() -> None:
    with pytest.raises(UserError, match="not for a Cortex-M7"):
        serial.serial_for_url(f"emu://nucleo_f746zg?elf={Path(sys.executable).resolve()}")


def test_unknown_commands_name_the_known(bare: Bare) -> None:
    with pytest.raises(ValueError, match="counters"):
        bare.control({"cmd": "fly"})
    with pytest.raises(ValueError, match="no symbol"):
        bare.control({"cmd": "watch", "symbol": "nothing"})


@pytest.mark.parametrize("length", [1, 3, 1000])
def test_dma_sends_and_says_so_by_interrupts(bare: Bare, length: int) -> None:
    start = 0x08000000
    bare.send("t", start, length)
    data = bytes.fromhex(bare.control({"cmd": "read_ram", "addr": start, "len": length})["data"])
    assert bare.port.read(length) == data
    assert bare.words(1) == (ord("D") << 8 | ord("L"),)


def test_dma_from_nowhere_is_a_transfer_error(bare: Bare) -> None:
    bare.send("t", 0x60000000, 4)
    assert bare.words(1) == (ord("E") << 8 | ord("L"),)


def test_without_a_compiler_the_error_names_one(
    bare_elf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("XDG_CACHE_HOME", tmp_path), ("PATH", tmp_path), ("CC", "")):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UserError, match="apt install gcc"):
        serial.serial_for_url(f"emu://nucleo_f746zg?elf={bare_elf}")


def test_without_unicorn_the_error_names_the_extra(bare_elf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mcugrad\[emulator\]"):
        serial.serial_for_url(f"emu://nucleo_f746zg?elf={bare_elf}")


def test_an_image_outside_flash_is_refused(bare_elf: Path) -> None:
    with pytest.raises(UserError, match="flash"):
        image.load(bare_elf, "small_board", 0x08000000, 1024)
    with pytest.raises(UserError, match="vector table"):
        image.load(bare_elf, "other_board", 0x07000000, 1 << 25)


def test_ctrl_c_ends_a_pty_board(bare_elf: Path) -> None:
    command = [sys.executable, "-m", "mcugrad.emulator", "--elf", str(bare_elf), "--pty"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    board = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
    assert board.stdout is not None
    board.stdout.readline()
    time.sleep(0.2)
    board.send_signal(signal.SIGINT)
    board.communicate(timeout=TIMEOUT)
    assert board.returncode == -signal.SIGINT


def test_a_board_that_was_killed_is_a_serial_error(bare_elf: Path) -> None:
    port: Any = serial.serial_for_url(f"emu://nucleo_f746zg?elf={bare_elf}", timeout=TIMEOUT)
    port._child.kill()
    port._child.wait()
    with pytest.raises(serial.SerialException, match="stopped"):
        port.read(1)
    with pytest.raises(serial.SerialException, match="stopped"):
        port.write(b"x")
    with pytest.raises(serial.SerialException, match="stopped"):
        port.control({"cmd": "counters"})
    port.close()
