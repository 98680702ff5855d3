"""What a block of machine code does to the counters: worked out by hand from the manual's encodings."""

from __future__ import annotations

import pytest

pytest.importorskip("capstone", reason="pip install 'mcugrad[emulator]'")

from mcugrad.emulator import blocks

ANALYSER = blocks.Analyser()
BASE = 0x08000000
POINTERS = [0x1000 + 0x100 * i for i in range(13)] + [0x20003000, 0xFFFFFFFF]
PUSH, SUB_56, ADD_56, POP = "10b5", "8eb0", "0eb0", "10bd"  # push {r4, lr}; sub sp, #56; ...; pop {r4, pc}


def cost(*halfwords: str) -> blocks.Cost:
    return ANALYSER.cost(bytes.fromhex("".join(halfwords)), BASE)


@pytest.mark.parametrize(
    ("code", "insns"),
    [
        ("", 0),
        ("0918", 1),
        ("2ded048b", 1),
        ("091800d0", 2),
        ("08bf0846", 2),
        ("d1e90223 0918", 2),
    ],
)
def test_counts_16_and_32_bit_instructions(code: str, insns: int) -> None:
    assert blocks.count(bytes.fromhex(code)) == insns


@pytest.mark.parametrize(
    ("name", "code", "dip"),
    [
        ("push, sub", [PUSH, SUB_56], 64),
        ("back to where it was", [PUSH, SUB_56, ADD_56, POP], 64),
        ("vpush {d8-d9}", ["2ded048b"], 16),
        ("str r0, [sp, #-4]!", ["4df8040d"], 4),
        ("strd r0, r1, [sp, #-8]!", ["6de90201"], 8),
        ("stmdb sp!, {r4-r11, lr}", ["2de9f04f"], 36),
        ("ldr r0, [sp], #4; push {r4, lr}", ["5df8040b", PUSH], 4),
        ("adds, subs", ["0918", "0138"], 0),
    ],
)
def test_how_deep_a_block_reaches_below_its_first_sp(name: str, code: list[str], dip: int) -> None:
    assert (cost(*code).dip, cost(*code).moves_sp) == (dip, False), name


@pytest.mark.parametrize(
    "code", ["adeb030d", "bd46", "80f30888"], ids=["sub sp, r3", "mov sp, r7", "msr msp"]
)
def test_a_computed_sp_must_be_looked_at(code: str) -> None:
    assert cost(code).moves_sp


@pytest.mark.parametrize(
    ("name", "code", "address"),
    [
        ("ldrd r2, r3, [r1, #8]", "d1e90223", 0x1108),
        ("ldr r0, [r1, r2, lsl #2]", "51f82200", 0x1100 + 4 * 0x1200),
        ("ldr r0, [r1], #4", "51f8040b", 0x1100),
        ("str r0, [r1, #-8]!", "41f8080d", 0x10F8),
        ("ldmia r1!, {r2, r3}", "0cc9", 0x1100),
        ("stmdb sp!, {r4-r11, lr}", "2de9f04f", 0x20003000 - 36),
        ("push {r4, lr}", PUSH, 0x20003000 - 8),
        ("vldmia r1!, {s14}", "b1ec017a", 0x1100),
    ],
)
def test_the_address_that_an_instruction_names(name: str, code: str, address: int) -> None:
    (insn,) = ANALYSER.engine.disasm(bytes.fromhex(code), BASE)
    assert blocks.memory_operand(insn, POINTERS) == address, name


def test_kinds_of_block() -> None:
    assert cost("0138", "fcd1").conditional  # subs; bne
    assert cost("40b1").conditional  # cbz
    assert not cost("0138", "7047").conditional  # bx lr
    assert cost("30ee000b").double  # vadd.f64
    assert cost("b1ec017a").fpu


def test_cycles_of_loops_and_chains() -> None:
    # Two independent operations issue together; a branch that is predicted is free beside one of them.
    assert cost("0138", "fdd1").cycles == 1
    assert cost("0918", "0138", "fcd1").cycles == 2
    # Each of four adds needs the one before.
    assert cost(*["0918"] * 4).cycles == 4
    # A loaded word can be used in the next cycle, not in the same.
    assert cost("51f8040b", "401c").cycles > cost("51f8040b", "521c").cycles
