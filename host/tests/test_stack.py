"""The stack's bound of small programs whose frames and calls are known."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mcugrad.errors import InternalError, OutOfMemoryError
from mcugrad.stack import deepest, fit, read

pytestmark = pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="no arm-none-eabi-gcc")
ASM = """
.syntax unified
.thumb
.macro function name
.type \\name, %function
.global \\name
\\name:
.endm
.section .text
{body}
"""
LEAF = """
function leaf
    push {r4, lr}
    vpush {d8-d10}
    sub sp, #400
    add sp, #400
    pop {r4, pc}
.size leaf, . - leaf
"""
CALLER = """
function reset_handler
    stmdb sp!, {r4, r5, r6, lr}
    str r0, [sp, #-8]!
    bl other
    %s
.size reset_handler, . - reset_handler
function other
    push {lr}
    pop {pc}
.size other, . - other
"""


def linked(folder: Path, body: str) -> Path:
    source, elf = folder / "program.s", folder / "program.elf"
    source.write_text(ASM.format(body=body))
    flags = ["-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard", "-nostdlib"]
    subprocess.run(
        ["arm-none-eabi-gcc", *flags, "-Wl,-Ttext=0x8000000,-ereset_handler", str(source), "-o", str(elf)],
        check=True,
    )
    return elf


@pytest.mark.parametrize(
    "call", ["bl leaf", "b leaf", "beq leaf", "ldr r3, =leaf\n blx r3\n .ltorg", "b.w leaf"]
)
def test_a_chain_of_calls(tmp_path: Path, call: str) -> None:
    found = deepest(read(linked(tmp_path, CALLER % call + LEAF)))
    assert found.bytes == 16 + 8 + (8 + 24 + 400)
    assert found.chain == ("reset_handler", "leaf")


def test_a_pointer_out_of_a_table_that_the_caller_s_caller_passes(tmp_path: Path) -> None:
    table = """
function middle
    push {r3, lr}
    blx r0
    pop {r3, pc}
.size middle, . - middle
.section .rodata
.type table, %object
table: .word other
.word leaf
.size table, . - table
"""
    found = deepest(read(linked(tmp_path, CALLER % "ldr r0, =table\n bl middle\n .ltorg" + LEAF + table)))
    assert found.bytes == 24 + 8 + 432 and found.chain[1:] == ("middle", "leaf")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("bl reset_handler", "reset_handler -> reset_handler"),
        ("sub sp, sp, r3", "sub"),
        ("blx r3", "nobody sets"),
    ],
)
def test_what_has_no_bound(tmp_path: Path, body: str, why: str) -> None:
    with pytest.raises(InternalError, match=why):
        deepest(read(linked(tmp_path, CALLER % body + LEAF)))


def test_a_stack_that_is_too_small(tmp_path: Path) -> None:
    elf = linked(tmp_path, CALLER % "bl leaf" + LEAF)
    assert fit(elf, 488) == "stack at most 456 of 488: reset_handler > leaf"
    with pytest.raises(OutOfMemoryError, match="456 of 455"):
        fit(elf, 487)
