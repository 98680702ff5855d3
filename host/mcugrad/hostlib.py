"""C sources -> a shared library of this machine, loaded by ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mcugrad.errors import InternalError, UserError

# No contraction: a fused multiply-add would change the bits.
ARITHMETIC = ["-O3", "-ffp-contract=off"]
FLAGS = ["-std=c11", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *ARITHMETIC]


def build_library(
    sources: Iterable[Path],
    includes: Iterable[Path],
    out: Path,
    defines: Iterable[str] = (),
    flags: Iterable[str] = (),
) -> ctypes.CDLL:
    """Compile C sources into `out` and load it. Raises UserError without gcc, InternalError if it refuses."""
    gcc = compiler()
    out.parent.mkdir(parents=True, exist_ok=True)
    options = [*FLAGS, *(f"-I{i}" for i in includes), *(f"-D{d}" for d in defines), *flags]
    command = [gcc, *options, *(str(s) for s in sources), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InternalError(f"gcc refuses our C:\n{' '.join(command)}\n{done.stderr}")
    return ctypes.CDLL(str(out))


def compiler() -> str:
    """Path of gcc. Raises UserError if there is none."""
    gcc = shutil.which("gcc")
    if gcc is None:
        raise UserError("there is no C compiler", "PATH has no gcc", "install one: apt install gcc libc6-dev")
    return gcc


@cache
def native() -> tuple[str, ...]:
    """The flag for all of this machine's instructions, where the compiler knows it."""
    command = [compiler(), "-march=native", "-E", "-x", "c", os.devnull]
    known = subprocess.run(command, capture_output=True).returncode == 0
    return ("-march=native",) if known else ()
