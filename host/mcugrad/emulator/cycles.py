"""One translated block -> exact instruction count, estimated Cortex-M7 cycles, and its use of the stack.

The estimate is a static, in-order, dual-issue scoreboard without caches, wait states or bus contention.
Latencies follow LLVM's ARMScheduleM7.td and GCC's cortex-m7.md; no number was fitted to a board.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, cached_property

import capstone as cs
from capstone import arm_const as arm

MISPREDICT = 6
EXCEPTION_ENTRY = 12 + 9  # the second term: nine double words of FP state, our estimate
STEADY = 3


@dataclass(frozen=True)
class Kind:
    """How a class of instructions issues. forward: how many cycles early it takes its accumulator."""

    unit: str
    latency: int = 1
    forward: int = 0
    busy: int = 1
    alone: bool = False
    slot0: bool = False


# First match wins; the key is matched against the whole mnemonic (condition and width suffixes included).
KINDS: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in {
        r"v(div|sqrt).*f64": Kind("vfp", 30, busy=28),
        r"v(div|sqrt).*": Kind("vfp", 16, busy=14),
        r"v(f?n?m[al]|fm|ml)[as]?.*f64": Kind("vfp", 10, 3, busy=4),
        r"v(fma|fms|fnma|fnms|mla|mls|nmla|nmls).*": Kind("vfp", 6, 3),
        r"v(mul|nmul).*f64": Kind("vfp", 6, busy=3),
        r"v(add|sub|mul|nmul|cvt|rint).*": Kind("vfp", 3),
        r"v(ldm|stm|push|pop).*": Kind("load", 2, alone=True),
        r"vldr.*": Kind("load", 2),
        r"vstr.*": Kind("store"),
        r"v(mov|neg|abs|cmp|sel|max|min|mrs|msr).*": Kind("vfp", 1),
        r"(ldm|pop|stm|push|ldrd|strd|ldrex|strex|tb[bh]).*": Kind("load", 1, alone=True),
        r"ldr(b|h|sb|sh)t?(\..*)?": Kind("load", 2),
        r"ldr.*": Kind("load", 1),
        r"str.*": Kind("store"),
        r"[su]div.*": Kind("alu", 7, busy=7, alone=True),
        r"(sml|uml|uma|smm|smu|smsd|smls|mla|mls|mul|usad).*": Kind("mac", 2, 1),
        r"[usq](q|h)?(add|sub|asx|sax)(8|16)?.*|sel.*|pkh.*|[us]sat.*": Kind("simd", 1, slot0=True),
        r"[us]xt.*|[us]bfx.*|bf[ic].*|rbit.*|rev.*|clz.*": Kind("alu", 1, slot0=True),
        r"(bl?x?|cbn?z|b[a-z]{2})(\.w|\.n)?": Kind("branch"),
        r"(dsb|dmb|isb|msr|mrs|cps.*|wf[ie]|svc|bkpt)": Kind("alu", 1, alone=True),
    }.items()
)
DEFAULT = Kind("alu")
LIMITS = {"alu": 2, "load": 2, "store": 1, "mac": 1, "branch": 1, "vfp": 1, "simd": 1}
NEEDS_WORDS = re.compile(r"ldrd|strd|v?ldm|v?stm|v?push|v?pop|vldr|vstr|ldrex|strex")


@dataclass(frozen=True)
class Step:
    """One instruction as the scoreboard sees it. early: registers needed one stage before the others."""

    kind: Kind
    reads: frozenset[int]
    writes: frozenset[int]
    early: frozenset[int]
    accumulator: int


@dataclass(frozen=True)
class Cost:
    insns: int
    cycles: int
    dip: int
    moves_sp: bool
    conditional: bool
    fpu: bool
    double: bool


@dataclass
class Scoreboard:
    ready: dict[int, int] = field(default_factory=dict)
    now: int = 0
    used: list[Kind] = field(default_factory=list)
    free: dict[str, int] = field(default_factory=dict)

    def issue(self, step: Step) -> None:
        at = max([self.now, self.free.get(step.kind.unit, 0), *(self._needed(step, r) for r in step.reads)])
        if at == self.now and not self._fits(step.kind):
            at += 1
        if at > self.now:
            self.now, self.used = at, []
        self.used.append(step.kind)
        if step.kind.busy > 1:
            self.free[step.kind.unit] = at + step.kind.busy
        self.ready.update(dict.fromkeys(step.writes, at + step.kind.latency))

    def _needed(self, step: Step, reg: int) -> int:
        ready = self.ready.get(reg, 0)
        if reg == step.accumulator:
            return ready - step.kind.forward
        return ready + (reg in step.early and ready > 0)

    def _fits(self, kind: Kind) -> bool:
        if not self.used:
            return True
        if len(self.used) == 2 or kind.alone or kind.slot0 or self.used[0].alone:
            return False
        return sum(k.unit == kind.unit for k in self.used) < LIMITS[kind.unit]


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
            cycles=cycles([step(i) for i in decoded], bool(last and _target(last) == addr)),
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
            index = names.get(mem.index, 0) << mem.lshift if mem.index else 0
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


@cache
def kind_of(mnemonic: str) -> Kind:
    return next((kind for pattern, kind in KINDS if pattern.fullmatch(mnemonic)), DEFAULT)


def step(insn: cs.CsInsn) -> Step:
    kind = kind_of(insn.mnemonic)
    reads, writes = (frozenset(r) for r in insn.regs_access())
    early = {r for o in insn.operands if o.type == arm.ARM_OP_MEM for r in (o.mem.base, o.mem.index) if r}
    early |= {o.reg for o in insn.operands if o.type == arm.ARM_OP_REG and o.shift.type}
    accumulator = insn.operands[-1].reg if kind.unit == "mac" and len(insn.operands) == 4 else 0
    if kind.unit == "vfp" and kind.forward and insn.operands:
        accumulator = insn.operands[0].reg
    return Step(kind, reads, writes, frozenset(early), accumulator)


def cycles(steps: list[Step], loops: bool) -> int:
    """Issue cycles of a block; of one round in the steady state when it jumps to its own start."""
    board = Scoreboard()
    ends = [0]
    for _ in range(STEADY if loops else 1):
        for one in steps:
            board.issue(one)
        board.now, board.used = board.now + 1, []
        ends.append(board.now)
    return max(1, ends[-1] - ends[-2])
