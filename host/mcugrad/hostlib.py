"""C sources -> a shared library of this machine, loaded by ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import count
from pathlib import Path

from mcugrad.errors import InternalError, UserError

# No contraction: a fused multiply-add would change the bits.
ARITHMETIC = ["-O3", "-ffp-contract=off"]
FLAGS = ["-std=c11", "-fPIC", "-Wall", "-Wextra", "-Werror", *ARITHMETIC]
_numbers = count()


def build_library(
    sources: Iterable[Path],
    includes: Iterable[Path],
    out: Path,
    defines: Iterable[str] = (),
    flags: Iterable[str] = (),
) -> ctypes.CDLL:
    """Compile C sources or objects into `out` and load it, with variables of its own even if one of that name
    is loaded. Raises UserError without gcc, InternalError if it refuses."""
    part = _compile(["-shared", *_options(includes, defines, flags), *map(str, sources)], out)
    library = ctypes.CDLL(str(part))  # the loader knows libraries by name
    part.replace(out)
    return library


def build_object(
    sources: Iterable[Path],
    includes: Sequence[Path],
    folder: Path,
    defines: Iterable[str] = (),
    flags: Iterable[str] = (),
) -> Path:
    """C sources -> one object file in `folder`, named by all that goes into it and compiled only once."""
    options, sources = _options(includes, defines, flags), list(sources)
    read = [*sources, *(h for i in includes for h in sorted(i.glob("*.h")))]
    parts = [machine(), repr(options).encode(), *(path.read_bytes() for path in read)]
    out = folder / f"{hashlib.sha256(b''.join(parts)).hexdigest()[:20]}.o"
    if not out.exists():
        _compile(["-r", "-nostdlib", *options, *map(str, sources)], out).replace(out)
    return out


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


@cache
def machine() -> bytes:
    """What tells this compiler on this machine from others: its version and the instructions it would use."""
    command = [compiler(), *native(), "-v", "-E", "-x", "c", os.devnull]
    return subprocess.run(command, capture_output=True).stderr


def _options(includes: Iterable[Path], defines: Iterable[str], flags: Iterable[str]) -> list[str]:
    return [*FLAGS, *(f"-I{i}" for i in includes), *(f"-D{d}" for d in defines), *flags]


def _compile(arguments: list[str], out: Path) -> Path:
    """The result under a name of its own, to be renamed to `out`, which other processes may be making too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(f".{os.getpid()}-{next(_numbers)}{out.suffix}").resolve()
    command = [compiler(), *arguments, "-o", str(part)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InternalError(f"gcc refuses our C:\n{' '.join(command)}\n{done.stderr}")
    return part
