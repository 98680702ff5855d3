"""Exception entry and return, and what a refused access becomes: done by hand, Unicorn has none of it."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from mcugrad.boards import Board
from mcugrad.emulator import blocks, engine, native, nvic, scoreboard
from mcugrad.emulator.engine import CORE, CPSR, FLOATS, FPSCR, LR, PC, SP
from mcugrad.emulator.memory import Memory

EXC_RETURN = 0xFFFFFF00
SHARED = 0xFE0FFC00  # what CPSR and xPSR have in common: NZCVQ, GE, and the IT state
IT = 0x0600FC00
STACKED = (*FLOATS[:16], FPSCR)
FRAME = struct.Struct("<26I")  # with the FP registers, always
PAGE = 1024
FAULTS_KEPT = 1000
NAMES = {nvic.BUS: "BusFault", nvic.MEMORY: "MemManage", nvic.USAGE: "UsageFault"}
DATA_ACCESS = {native.FAULT_BUS: (nvic.BUS, 0x8200), native.FAULT_MPU: (nvic.MEMORY, 0x82)}
FETCH_ACCESS = {native.FAULT_BUS: (nvic.BUS, 0x100), native.FAULT_MPU: (nvic.MEMORY, 1)}
STACKING_FAILED = 1 << 12


class Exceptions:
    """`faults` lists the last faults taken; `locked` means that one happened inside a fault handler."""

    def __init__(
        self,
        board: Board,
        core: engine.Engine,
        memory: Memory,
        system: nvic.Nvic,
        report: Callable[[str, str], None],
    ) -> None:
        self.board, self.core, self.memory, self.nvic, self.report = board, core, memory, system, report
        self.mcu, self.analyser = core.mcu, blocks.Analyser()
        self.faults: deque[dict[str, Any]] = deque(maxlen=FAULTS_KEPT)
        self.locked = False

    def deliver(self) -> None:
        """Enter the most urgent pending exception, if it may interrupt what runs."""
        self.nvic.tick()
        self.nvic.raise_lines()
        number = self.nvic.next()
        if number is None:
            return
        if self.nvic.priority(number) < self.current():
            self.nvic.pending.discard(number)
            self.enter(number, self.core.get(PC))
        else:
            # Unmasking cannot be seen from outside: look again soon.
            self.mcu.event_at = min(self.mcu.event_at, self.mcu.cycles + 200)

    def current(self) -> int:
        """The priority that an exception must beat now."""
        return self.nvic.current(*(self.core.get(m) for m in engine.MASKS))

    def enter(self, number: int, back: int) -> None:
        """Stack a frame that returns to `back`, and go to the handler."""
        cpsr, sp = self.core.get(CPSR), self.core.get(SP)
        frame_at = (sp - FRAME.size) & ~7
        running = self.nvic.active[-1] if self.nvic.active else 0
        status = cpsr & SHARED | 1 << 24 | (sp >> 2 & 1) << 9 | running
        saved = [*(self.core.get(r) for r in (*CORE[:4], CORE[12], LR)), back, status]
        floats = [*(self.core.get(r) for r in STACKED), 0]
        if not self.memory.store(frame_at, FRAME.pack(*saved, *floats)):
            self._flag(STACKING_FAILED)
        self.core.set(SP, frame_at)
        self.mcu.sp_low = min(self.mcu.sp_low, frame_at)
        self.core.set(LR, 0xFFFFFFE1 if self.nvic.active else 0xFFFFFFE9)
        self.core.set(CPSR, cpsr & ~IT)
        self.nvic.active.append(number)
        self.mcu.cycles += scoreboard.EXCEPTION_ENTRY
        self._jump_to_vector(number)

    def _jump_to_vector(self, number: int) -> None:
        table = self.nvic.values.get(0xD08, 0) or self.board.flash.origin
        vector = struct.unpack("<I", self.memory.read(table + 4 * number, 4) or bytes(4))[0]
        self.core.set(PC, vector & ~1)

    def leave(self) -> None:
        """A branch to EXC_RETURN: back to what the frame says."""
        sp = self.core.get(SP)
        data = self.memory.read(sp, FRAME.size)
        if data is None or not self.nvic.active:
            self.lock_up("exception return without a frame")
            return
        words = FRAME.unpack(data)
        self.nvic.active.pop()
        for which, value in zip((*CORE[:4], CORE[12], LR), words, strict=False):
            self.core.set(which, value)
        for which, value in zip(STACKED, words[8:25], strict=True):
            self.core.set(which, value)
        self.core.set(PC, words[6] & ~1)
        self.core.set(CPSR, self.core.get(CPSR) & ~SHARED | words[7] & SHARED)
        self.core.set(SP, sp + FRAME.size + 4 * (words[7] >> 9 & 1))

    def memory_fault(self, pc: int) -> None:
        """The access that native code refused becomes the chip's exception."""
        kind, self.mcu.fault = self.mcu.fault, native.FAULT_NONE
        if kind == native.FAULT_STACK:
            self.fault(nvic.MEMORY, pc, 0x82, self.mcu.fault_page)
        elif self.mcu.fault_type == engine.FETCH:
            self.fault(FETCH_ACCESS[kind][0], pc, FETCH_ACCESS[kind][1], None)
        else:
            addr = self._address(pc)
            self._uncount(pc)
            self.fault(DATA_ACCESS[kind][0], pc, DATA_ACCESS[kind][1], addr)

    def _address(self, pc: int) -> int:
        """What the instruction at pc addressed; the page's start where the access began before that page."""
        page = int(self.mcu.fault_page)
        insn = next(self.analyser.engine.disasm(self.memory.read(pc, 4) or b"", pc, 1), None)
        addr = blocks.memory_operand(insn, self.core.core()) if insn else None
        return addr if addr is not None and page <= addr < page + PAGE else page

    def _uncount(self, pc: int) -> None:
        """The block was counted whole when it began; its part from pc on has not run."""
        past = self.mcu.block + self.mcu.block_size - pc
        if 0 < past <= self.mcu.block_size:
            rest = self.analyser.cost(self.memory.read(pc, past) or b"", pc)
            self.mcu.insns -= rest.insns
            self.mcu.cycles -= min(rest.cycles, self.mcu.record.contents.cycles)

    def fault(self, number: int, pc: int, status: int, addr: int | None) -> None:
        """Raise a fault: status bits for CFSR, the address where one is known."""
        self._flag(status)
        if addr is not None:
            self.nvic.values[0xD38 if number == nvic.BUS else 0xD34] = addr
        record = {
            "kind": NAMES[number],
            "pc": pc,
            "address": addr,
            "cfsr": status,
            "sp": self.core.get(SP),
        }
        self.faults.append(record)
        taken = self.nvic.fault_number(number, self.current())
        if taken is None:
            self.lock_up(f"{NAMES[number]} at {pc:#010x} inside a fault handler")
        else:
            self.enter(taken, pc)

    def _flag(self, status: int) -> None:
        self.nvic.values[0xD28] = self.nvic.values.get(0xD28, 0) | status

    def lock_up(self, why: str) -> None:
        """The core stops for good, as the chip does; only a reset helps."""
        self.locked = True
        self.report("lock-up", why)
