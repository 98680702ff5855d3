"""The C sources here -> a shared library, built once per source text, and the ctypes mirror of mcu.h."""

from __future__ import annotations

import ctypes as ct
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from mcugrad.errors import InternalError, UserError
from mcugrad.paths import BUILD

SOURCES = ("hooks.c", "host.c", "usart.c", "dma.c")
FLAGS = ("-std=gnu11", "-O2", "-shared", "-fPIC")
REGIONS, WINDOWS, PROTECTED, STREAMS, MARKS, CALLS, DEPTH, FIFO = 8, 96, 16, 16, 8192, 8192, 16, 65536
NEVER = 2**64 - 1
UNKNOWN = 0xFFFF
BLOCK_SP, BLOCK_CONDITIONAL, BLOCK_ENTRY, BLOCK_RETURN, BLOCK_SEEN = 1, 2, 4, 8, 16
REGION_WRITE, REGION_CODE, REGION_DMA = 1, 2, 4
FAULT_NONE, FAULT_BUS, FAULT_STACK, FAULT_MPU = 0, 1, 2, 3

U64, U32 = ct.c_uint64, ct.c_uint32


def _fields(kind: type[ct._SimpleCData[int]], names: str) -> list[tuple[str, type[ct._SimpleCData[int]]]]:
    return [(name, kind) for name in names.split()]


class Block(ct.Structure):
    _fields_ = [
        *_fields(U32, "size cycles tail_cycles"),
        *_fields(ct.c_uint16, "insns dip tail"),
        *_fields(ct.c_uint8, "flags taken"),
        ("epoch", U32),
    ]


class Region(ct.Structure):
    _fields_ = [*_fields(U64, "base size flags"), ("host", ct.c_void_p), ("blocks", ct.POINTER(Block))]


class Mark(ct.Structure):
    _fields_ = _fields(U64, "block insns cycles")


class Call(ct.Structure):
    _fields_ = _fields(U64, "entry at insns cycles")


class Frame(ct.Structure):
    _fields_ = _fields(U64, "entry back sp insns cycles")


class Stream(ct.Structure):
    _fields_ = _fields(U32, "cr ndtr par m0ar m1ar fcr reload flags rx_request tx_request request unused")


class Uart(ct.Structure):
    _fields_ = [
        *_fields(U32, "base clocked rx_pin tx_pin cr1 cr2 cr3 brr gtpr rtor isr rdr"),
        *_fields(U64, "ratio byte_cycles rx_at idle_at tx_at tx_since received overruns dropped sent"),
        *_fields(ct.c_int32, "host_fd control_fd debug_fd unused"),
        *_fields(U64, "head tail out_length"),
        ("fifo", ct.c_uint8 * FIFO),
        ("out", ct.c_uint8 * FIFO),
    ]


MEASURE = ct.CFUNCTYPE(None, U64, U32, ct.POINTER(Block))
UNALIGNED = ct.CFUNCTYPE(None, U64, U64)
MARKED = ct.CFUNCTYPE(None)
READ = ct.CFUNCTYPE(U64, U64, U32)
WRITE = ct.CFUNCTYPE(None, U64, U64, U32)


class Mcu(ct.Structure):
    _fields_ = [
        *_fields(U64, "insns cycles limit event_at poll_at idle_cycles hz"),
        *_fields(U64, "stopped attention closed irq_lines irq_listen cyccnt_base cyccnt_on"),
        *_fields(U64, "mispredict mispredicts epoch served unaligned_count block block_size"),
        *((name, ct.POINTER(Block)) for name in ("record", "previous")),
        *_fields(U64, "previous_end sample_sp sp_low sp_floor fault fault_page fault_type"),
        *_fields(U64, "quiet quiet_insns step_end mark_count call_count depth tracing"),
        *((name, ct.c_void_p) for name in ("uc", "stop", "reg_read", "reg_write")),
        ("measure", MEASURE),
        ("locate", MEASURE),
        ("unaligned", UNALIGNED),
        ("marked", MARKED),
        ("read", READ),
        ("write", WRITE),
        ("regions", Region * REGIONS),
        ("windows", U64 * 2 * WINDOWS),
        ("protected", U64 * 3 * PROTECTED),
        ("disabled", U64 * PROTECTED),
        ("polled", U64 * (STREAMS + 1)),
        ("streams", Stream * STREAMS),
        ("dma_base", U64 * 2),
        ("dma_clocked", U64 * 2),
        ("mux", U64),
        ("frames", Frame * DEPTH),
        ("marks", Mark * MARKS),
        ("calls", Call * CALLS),
        ("uart", Uart),
    ]


def compiler() -> str:
    """The system's C compiler; UserError when there is none."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    raise UserError(
        "no C compiler for the emulated board's hooks", "cc, gcc, clang: none found", "apt install gcc"
    )


def _cache() -> Path:
    """A folder to keep what was compiled; the checkout's build folder where the home cannot be written."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcugrad"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        root = BUILD / "emulator"
        root.mkdir(parents=True, exist_ok=True)
    return root


def build() -> Path:
    """The compiled hooks, from the cache when their text was compiled before."""
    folder = Path(__file__).parent
    text = b"".join((folder / name).read_bytes() for name in ("mcu.h", *SOURCES))
    library = _cache() / f"hooks-{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not library.exists():
        _compile([folder / name for name in SOURCES], library)
    return library


def _compile(sources: list[Path], library: Path) -> None:
    # Renamed into place: two boards may start at once.
    with tempfile.TemporaryDirectory(dir=library.parent) as work:
        made = Path(work) / library.name
        command = [compiler(), *FLAGS, *map(str, sources), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UserError(
                "the emulated board's hooks do not compile", done.stderr.strip(), "a gcc or clang of C11"
            )
        made.replace(library)


def load() -> ct.CDLL:
    """The hooks, ready to call."""
    library = ct.CDLL(str(build()))
    library.mg_sizeof.restype = U64
    if library.mg_sizeof() != ct.sizeof(Mcu):
        raise InternalError(f"mcu.h and native.py disagree: {library.mg_sizeof()} and {ct.sizeof(Mcu)} bytes")
    library.mg_idle.argtypes = library.mg_pump.argtypes = [ct.POINTER(Mcu)]
    library.mg_serial_read.argtypes = [ct.POINTER(Mcu), U64, ct.POINTER(U64)]
    library.mg_serial_write.argtypes = [ct.POINTER(Mcu), U64, U64]
    library.mg_serial_read.restype = library.mg_serial_write.restype = ct.c_bool
    library.mg_set_ratio.argtypes = [ct.POINTER(Mcu), U64]
    return library
