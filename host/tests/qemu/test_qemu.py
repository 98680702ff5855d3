"""A second opinion: QEMU's Cortex-M7, another emulator and map, trains to the same bits as this machine."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, paths
from mcugrad.codegen.c import write
from mcugrad.hostmodel import HostModel
from mcugrad.pipeline import compile_model
from tests.networks import small

HERE = Path(__file__).parent
STEPS = 5
FLAGS = (
    "-mcpu=cortex-m7 -mthumb -mfpu=fpv5-sp-d16 -mfloat-abi=hard -O2 -ffp-contract=off -nostartfiles "
    "-Wall -Wextra -Werror -specs=nano.specs"
).split()


def qemu_lines(gen: Path, folder: Path) -> list[bytes]:
    """Build for mps2-an500 and run; each line that it prints, as bytes."""
    elf = folder / "an500.elf"
    sources = [
        HERE / "main.c",
        paths.FIRMWARE / "cycles.c",
        *sorted(gen.glob("*.c")),
        *sorted(paths.KERNELS.glob("*.c")),
    ]
    includes = [f"-I{p}" for p in (gen, paths.KERNELS, paths.FIRMWARE)]
    command = ["arm-none-eabi-gcc", *FLAGS, f"-DSTEP_COUNT={STEPS}", *includes, *map(str, sources)]
    subprocess.run([*command, f"-T{HERE / 'link.ld'}", "-o", str(elf)], check=True)
    machine = ["qemu-system-arm", "-M", "mps2-an500", "-nographic", "-monitor", "none", "-serial", "none"]
    target = ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf)]
    done = subprocess.run([*machine, *target], capture_output=True, timeout=60, check=True)
    return [bytes.fromhex(line) for line in (done.stdout + done.stderr).decode().split()]


@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="qemu-system-arm is not installed")
def test_same_training(tmp_path: Path) -> None:
    compiled = compile_model(small(), "full", boards.load("nucleo_f746zg"))
    gen = write(compiled.emitted, tmp_path / "gen")
    host, noise = HostModel(gen, tmp_path / "host.so"), 1
    lines = qemu_lines(gen, tmp_path)
    for step in range(STEPS):
        x = np.empty(compiled.manifest["input"]["bytes"], np.int8)
        for i in range(x.size):
            noise = (noise * 1103515245 + 12345) & 0xFFFFFFFF
            x[i] = np.uint8(noise >> 16 & 0xFF).view(np.int8)
        result = host.step(x, step % compiled.manifest["classes"], 0.01)
        assert lines[step] == struct.pack("<f", result.loss), f"step {step}"
    assert lines[STEPS] == host.state_bytes()
