"""One translated block -> exact instruction count, stack use, memory addresses, and the cycle estimate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import capstone as cs
from capstone import arm_const as arm

from mcugrad.emulator import scoreboard

NEEDS_WORDS = re.compile(r"ldrd|strd|v?ldm|v?stm|v?push|v?pop|vldr|vstr|ldrex|strex")


@dataclass(frozen=True)
class Cost:
    insns: int
    cycles: int
    dip: int
    moves_sp: bool
    conditional: bool
    fpu: bool
    double: bool


def length(halfword: int) -> int:
    """Bytes of the Thumb instruction that starts with this halfword."""
    return 4 if halfword >> 11 in (0b11101, 0b11110, 0b11111) else 2


def count(code: bytes) -> int:
    """Instructions in a block, exact whatever they are; a predicated-false one counts as one."""
    at = total = 0
    while at < len(code):
        at += length(int.from_bytes(code[at : at + 2], "little"))
        total += 1
    return total


class Analyser:
    """Reads blocks of one program; capstone is set up once."""

    @cached_property
    def engine(self) -> cs.Cs:
        engine = cs.Cs(cs.CS_ARCH_ARM, cs.CS_MODE_THUMB | cs.CS_MODE_MCLASS | cs.CS_MODE_V8)
        engine.detail = True
        return engine

    def cost(self, code: bytes, addr: int) -> Cost:
        decoded = list(self.engine.disasm(code, addr))
        dip, moves = stack_use(decoded)
        last = decoded[-1] if decoded else None
        return Cost(
            insns=count(code),
            cycles=scoreboard.cycles(
                [scoreboard.step(i) for i in decoded], bool(last and _target(last) == addr)
            ),
            dip=dip,
            moves_sp=moves,
            conditional=bool(last and _conditional(last)),
            fpu=any(i.mnemonic.startswith("v") for i in decoded),
            double=any(".f64" in i.mnemonic for i in decoded),
        )

    def name(self, code: bytes, addr: int) -> str:
        """Mnemonic of the first instruction, "" where there is none."""
        return next((str(i.mnemonic) for i in self.engine.disasm(code, addr, 1)), "")

    def reader(self, code: bytes, addr: int, regs: list[int], target: int) -> int:
        """Offset past the load of `target`, given the registers at it; the block's end if there is none."""
        for insn in self.engine.disasm(code, addr):
            if insn.mnemonic.startswith("ldr") and memory_operand(insn, regs) == target:
                return int(insn.address + insn.size - addr)
        return len(code)


def memory_operand(insn: cs.CsInsn, regs: list[int]) -> int | None:
    """Address that a load or store names, from r0-r12, sp, lr; None where it names no memory."""
    names = {arm.ARM_REG_R0 + i: v for i, v in enumerate(regs[:13])}
    names |= dict(zip((arm.ARM_REG_SP, arm.ARM_REG_LR), regs[13:], strict=False))
    for operand in insn.operands:
        if operand.type == arm.ARM_OP_MEM:
            mem = operand.mem
            base = (insn.address + 4) & ~3 if mem.base == arm.ARM_REG_PC else names.get(mem.base, 0)
            index = names.get(mem.index, 0) << operand.shift.value if mem.index else 0
            return int(base + (0 if _post_indexed(insn) else mem.disp) + index) & 0xFFFFFFFF
    if re.match(r"v?(ldm|stm|push|pop)", insn.mnemonic):
        return _multiple(insn, names)
    return None


def _post_indexed(insn: cs.CsInsn) -> bool:
    return insn.op_str.rstrip().endswith("]") is False and "!" not in insn.op_str and "], #" in insn.op_str


def _multiple(insn: cs.CsInsn, names: dict[int, int]) -> int:
    stack = insn.mnemonic.lstrip("v").startswith(("push", "pop"))
    base = names[arm.ARM_REG_SP] if stack else names.get(insn.operands[0].reg, 0)
    down = "push" in insn.mnemonic or "db" in insn.mnemonic
    return base - (_list_bytes(insn) if down else 0)


def _list_bytes(insn: cs.CsInsn) -> int:
    regs = [o.reg for o in insn.operands if o.type == arm.ARM_OP_REG]
    if not insn.mnemonic.lstrip("v").startswith(("push", "pop")):
        regs = regs[1:]
    return sum(8 if arm.ARM_REG_D0 <= r <= arm.ARM_REG_D31 else 4 for r in regs)


def stack_use(decoded: list[cs.CsInsn]) -> tuple[int, bool]:
    """(deepest bytes below the SP at entry, whether SP ends where only a look at it can tell)."""
    at = dip = 0
    unknown = False
    for insn in decoded:
        moved = _sp_step(insn)
        unknown |= moved is None
        at += moved or 0
        dip = max(dip, -at)
    return dip, unknown


def _sp_step(insn: cs.CsInsn) -> int | None:
    name, text = insn.mnemonic, insn.op_str
    if name.startswith(("push", "vpush")):
        return -_list_bytes(insn)
    if name.startswith(("pop", "vpop")):
        return _list_bytes(insn)
    if re.match(r"v?stmdb|v?ldm", name) and text.startswith("sp!"):
        return _list_bytes(insn) * (1 if "ldm" in name else -1)
    if name.startswith(("add", "sub")) and text.startswith("sp,"):
        if "#" not in text:
            return None
        return int(text.split("#")[1], 0) * (-1 if name.startswith("sub") else 1)
    writeback = re.search(r"\[sp, #(-?\w+)\]!|\[sp\], #(-?\w+)", text)
    if writeback:
        return int(writeback[1] or writeback[2], 0)
    return None if text.startswith(("sp,", "msp,", "psp,")) and not name.startswith(("cmp", "cmn")) else 0


def _conditional(insn: cs.CsInsn) -> bool:
    return insn.mnemonic.startswith("cb") or (
        insn.cc not in (arm.ARM_CC_AL, arm.ARM_CC_INVALID) and insn.mnemonic[0] == "b"
    )


def _target(insn: cs.CsInsn) -> int | None:
    branches = insn.mnemonic[0] in "bc" and insn.operands and insn.operands[-1].type == arm.ARM_OP_IMM
    return int(insn.operands[-1].imm) & 0xFFFFFFFF if branches else None
