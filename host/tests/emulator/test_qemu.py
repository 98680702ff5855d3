"""A second engine counts the same loops: instructions are a fact about the program, not about our counter."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import TIMEOUT, compile_program

PER_TICK = 40


def test_qemu_counts_the_same_loops(tmp_path: Path) -> None:
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed: apt install qemu-system-arm")
    program = compile_program("mps2.c", 0, tmp_path)
    command = ["qemu-system-arm", "-M", "mps2-an500", "-icount", "shift=0", "-nographic", "-semihosting"]
    done = subprocess.run(
        [*command, "-kernel", str(program)], capture_output=True, timeout=TIMEOUT, check=True
    )
    plain, conditional = (int(line, 16) for line in done.stderr.split())  # where semihosting prints
    assert abs(plain - (3 * 1_000_000 + 3) // PER_TICK) <= 1
    assert abs(conditional - (10 * 400_000 + 3) // PER_TICK) <= 1
