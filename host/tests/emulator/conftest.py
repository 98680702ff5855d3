"""A board that runs bare.c, built here: the emulator's tests need nothing of the product's own firmware."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

HERE = Path(__file__).parent
TIMEOUT = 10.0
FLAGS = (
    *("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard", "-O2", "-g"),
    *("-nostdlib", "-ffreestanding", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"),
)

if "mcugrad.emulator.urlhandler" not in serial.protocol_handler_packages:
    serial.protocol_handler_packages.append("mcugrad.emulator.urlhandler")


class Bare:
    """A board under test. `ask` sends a command with two words and returns the words of the answer."""

    def __init__(self, port: Any) -> None:
        self.port = port
        self.control = port.control

    def send(self, command: str, a: int = 0, b: int = 0) -> None:
        self.port.write(command.encode() + struct.pack("<II", a, b))

    def words(self, count: int) -> tuple[int, ...]:
        data = self.port.read(4 * count)
        assert len(data) == 4 * count, (data.hex(), self.control({"cmd": "faults"}))
        return struct.unpack(f"<{count}I", data)

    def ask(self, command: str, a: int = 0, b: int = 0, count: int = 1) -> tuple[int, ...]:
        self.send(command, a, b)
        return self.words(count)

    def wait(self, command: str, ready: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first answer to a control command that is `ready`."""
        end = time.monotonic() + TIMEOUT
        while not ready(answer := self.control({"cmd": command})):
            assert time.monotonic() < end, answer
            time.sleep(0.01)
        return dict(answer)


def compile_program(source: str, flash: int, folder: Path) -> Path:
    """One of the C files here, linked for a chip with flash at an address and RAM at 0x20000000."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed: apt install gcc-arm-none-eabi")
    elf = folder / "program.elf"
    link = (f"-Wl,--defsym=FLASH={flash}", f"-T{HERE / 'bare.ld'}", "-Wl,--build-id=none")
    subprocess.run(["arm-none-eabi-gcc", *FLAGS, *link, str(HERE / source), "-o", str(elf)], check=True)
    return elf


@pytest.fixture(scope="session")
def bare_elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("unicorn", reason="pip install 'mcugrad[emulator]'")
    return compile_program("bare.c", 0x08000000, tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def session_port(bare_elf: Path) -> Iterator[Any]:
    with serial.serial_for_url(f"emu://nucleo_f746zg?elf={bare_elf}", timeout=TIMEOUT) as port:
        yield port


@pytest.fixture
def bare(session_port: Any) -> Bare:
    """One process for all tests; every test starts from power-on."""
    session_port.control({"cmd": "power_cycle"})
    session_port.reset_input_buffer()
    return Bare(session_port)
