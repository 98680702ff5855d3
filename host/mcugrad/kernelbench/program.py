"""Kernels -> a bare program for a board that reads its cycle counter before and after each; -> counts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcugrad import boards
from mcugrad.boards import Board
from mcugrad.codegen.names import C_TYPES, literal
from mcugrad.errors import InternalError
from mcugrad.ir import Value
from mcugrad.kernelbench.cases import Kernel, nbytes
from mcugrad.link.ports import emulated, open_port
from mcugrad.paths import KERNELS

CPU = ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard")
FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Werror")
LINK = ("--specs=nosys.specs", "-nostartfiles", "-ffunction-sections", "-Wl,--gc-sections")
HEADERS = "conv conv_dw_sgd conv_part dynamic elementwise linear loss pool update".split()
STACK, PATIENCE = 16 * 1024, 60.0


def count(kernels: Sequence[Kernel], board: str, folder: Path) -> list[tuple[int, int]]:
    """(instructions, estimated cycles) of each kernel's call on the emulated board."""
    elf = _build(kernels, boards.load(board), folder)
    marks = _marks(board, elf, 2 * len(kernels))
    return [(b[0] - a[0], b[1] - a[1]) for a, b in zip(marks[::2], marks[1::2], strict=True)]


def _build(kernels: Sequence[Kernel], board: Board, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    source, script, elf = folder / "kernels.c", folder / "kernels.ld", folder / "kernels.elf"
    source.write_text(_source(kernels))
    script.write_text(_script(board))
    files = [str(source), *map(str, sorted(KERNELS.glob("*.c")))]
    options = [*CPU, f"-mfpu={board.fpu}", *FLAGS, *LINK, f"-I{KERNELS}", f"-Wl,-T,{script}"]
    done = subprocess.run(
        ["arm-none-eabi-gcc", *options, *files, "-o", str(elf)], capture_output=True, text=True
    )
    if done.returncode:
        raise InternalError(f"the kernels' program does not build:\n{done.stderr}")
    return elf


def _marks(board: str, elf: Path, expected: int) -> list[list[int]]:
    port = open_port(emulated(board, elf.resolve()), boards.load(board).baud)
    try:
        end = time.monotonic() + PATIENCE
        while (found := port.control({"cmd": "marks"}))["total"] < expected:
            if time.monotonic() > end:
                raise InternalError(f"the kernels' program stopped: {port.control({'cmd': 'faults'})}")
            time.sleep(0.02)
    finally:
        port.close()
    return list(found["marks"])


def _script(board: Board) -> str:
    ram = board.regions[0]
    return f"""MEMORY {{
    flash (rx) : ORIGIN = {board.flash.origin}, LENGTH = {board.flash.size}
    ram (rw) : ORIGIN = {ram.origin}, LENGTH = {ram.size}
}}
SECTIONS {{
    .text : {{ KEEP(*(.vectors)) *(.text* .rodata*) }} > flash
    .ARM.exidx : {{ *(.ARM.exidx*) }} > flash
    .stack (NOLOAD) : {{ . += {STACK}; stack_top = .; }} > ram
    .bss (NOLOAD) : {{ *(.data* .bss* COMMON) }} > ram
}}
"""


def _source(kernels: Sequence[Kernel]) -> str:
    includes = "\n".join(f'#include "{h}.h"' for h in HEADERS)
    sizes = [sum(_room(v) for vs in (*k.operands(), k.scratch()) for v in vs) for k in kernels]
    calls = "\n".join(f"    case{i}();" for i in range(len(kernels)))
    functions = "\n".join(_function(i, k) for i, k in enumerate(kernels))
    return f"""{includes}
#define CYCCNT (*(volatile uint32_t *)0xE0001004u)

extern uint32_t stack_top;
static uint8_t memory[{max(sizes)}] __attribute__((aligned(8)));

/* Random before each call: what another kernel left would be cheap to some, as equal pixels are to dX. */
static void fill(void) {{
    uint32_t state = 1;
    for (uint32_t i = 0; i < sizeof memory; i++) {{
        state = state * 1103515245u + 12345;
        memory[i] = (uint8_t)(state >> 16);
    }}
}}

static __attribute__((unused)) void narrow(int16_t *v, uint32_t n, int bits) {{
    for (; n; n--, v++)
        *v = (int16_t)(*v >> bits);
}}

{functions}
static void start(void) {{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: the FPU */
{calls}
    for (;;)
        __asm__ volatile("wfi");
}}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {{&stack_top, (void *)start}};
"""


def _function(i: int, k: Kernel) -> str:
    """One kernel's call; its operands that are not random are written first."""
    ins, outs = k.operands()
    places, writes, at = [], [], 0
    for v in (*outs, *k.scratch(), *ins):
        places.append("0" if v.name in k.drop else f"(void *)(memory + {at})")
        if v.name in k.values:
            writes += _writes(v, at, k.values[v.name])
        if v.name in k.narrow:
            writes.append(f"    narrow((int16_t *)(void *)(memory + {at}), {v.size}, {k.narrow[v.name]});\n")
        at += _room(v)
    members = ", ".join(f".{name} = {literal(value)}" for name, value in k.fields().items())
    return f"""static const mg_{k.record.params}_params p{i} = {{{members}}};
static void case{i}(void) {{ /* {k.label} */
    fill();
{"".join(writes)}    (void)CYCCNT;
    {k.record.kernel}({", ".join(places)}, &p{i});
    (void)CYCCNT;
}}
"""


def _writes(v: Value, at: int, values: tuple[Any, ...]) -> list[str]:
    kind, name = C_TYPES[v.dtype], f"{v.name}_values"
    content = ", ".join(literal(x) for x in values)
    return [
        f"    static const {kind} {name}[] = {{{content}}};\n",
        f"    memcpy(memory + {at}, {name}, sizeof {name});\n",
    ]


def _room(v: Value) -> int:
    return -(-nbytes(v) // 4) * 4
