"""Estimated Cortex-M7 cycles of a block: a static, in-order, dual-issue scoreboard.

No caches, wait states, bus contention or fetch limits are in it. Latencies follow LLVM's ARMScheduleM7.td and
GCC's cortex-m7.md; no number was fitted to a board. CoreMark/MHz: 4.1 in this model at -O2, 3.86 published.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

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
FLOATS = frozenset(range(arm.ARM_REG_S0, arm.ARM_REG_S31 + 1)) | frozenset(
    range(arm.ARM_REG_D0, arm.ARM_REG_D31 + 1)
)
DEFAULT = Kind("alu")
LIMITS = {"alu": 2, "load": 2, "store": 1, "mac": 1, "branch": 1, "vfp": 1, "simd": 1}


@dataclass(frozen=True)
class Step:
    """One instruction as the scoreboard sees it.

    early: registers needed one stage before the others. stepped: addresses written back, ready a cycle later.
    """

    kind: Kind
    reads: frozenset[int]
    writes: frozenset[int]
    early: frozenset[int]
    accumulator: int
    stepped: frozenset[int]


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
        self.ready.update(dict.fromkeys(step.stepped, at + 1))

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


@cache
def kind_of(mnemonic: str) -> Kind:
    """Issue rules by mnemonic; an unknown one is plain arithmetic."""
    return next((kind for pattern, kind in KINDS if pattern.fullmatch(mnemonic)), DEFAULT)


def step(insn: cs.CsInsn) -> Step:
    """One decoded instruction as the scoreboard sees it."""
    kind = kind_of(_plain_name(insn))
    reads, writes = _registers(insn)
    addresses = {o.mem.base for o in insn.operands if o.type == arm.ARM_OP_MEM}
    indices = {o.mem.index for o in insn.operands if o.type == arm.ARM_OP_MEM if o.mem.index}
    shifted = {o.reg for o in insn.operands if o.type == arm.ARM_OP_REG and o.shift.type}
    if kind.unit in ("load", "store") and not addresses and insn.operands:
        addresses = {insn.operands[0].reg}
    return Step(
        kind,
        reads=frozenset() if kind.unit == "branch" else reads,  # predicted: it waits for nothing
        writes=writes,
        early=frozenset(addresses | indices | shifted),
        accumulator=_accumulator(insn, kind),
        stepped=frozenset(addresses & writes) if insn.writeback else frozenset(),
    )


def _plain_name(insn: cs.CsInsn) -> str:
    """GCC writes a post-incremented VLDR as a VLDMIA of one register."""
    name = str(insn.mnemonic)
    return (
        name[0] + name[1:].replace("ldmia", "ldr").replace("stmia", "str")
        if len(insn.operands) == 2
        else name
    )


def _registers(insn: cs.CsInsn) -> tuple[frozenset[int], frozenset[int]]:
    """(read, written); capstone leaves the list of a VLDM or VSTM out."""
    reads, writes = (frozenset(r) for r in insn.regs_access())
    listed = frozenset(o.reg for o in insn.operands if o.type == arm.ARM_OP_REG and o.reg in FLOATS)
    if insn.mnemonic.startswith(("vldm", "vpop")):
        return reads, writes | listed
    return (reads | listed if insn.mnemonic.startswith(("vstm", "vpush")) else reads), writes


def _accumulator(insn: cs.CsInsn, kind: Kind) -> int:
    if kind.unit == "mac" and len(insn.operands) == 4:
        return int(insn.operands[-1].reg)
    return int(insn.operands[0].reg) if kind.unit == "vfp" and kind.forward and insn.operands else 0


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
