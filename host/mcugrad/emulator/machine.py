"""The emulated board: a Cortex-M7 on the chip's memory map and peripherals, run in slices of native code."""

from __future__ import annotations

import ctypes as ct
import struct
from collections import Counter
from typing import Any

from mcugrad.boards import Board
from mcugrad.emulator import blocks, engine, native, nvic, scoreboard
from mcugrad.emulator.chip import CHIPS, SYSTEM
from mcugrad.emulator.engine import LR, PC, SP
from mcugrad.emulator.exceptions import EXC_RETURN, Exceptions
from mcugrad.emulator.image import Image
from mcugrad.emulator.memory import Memory
from mcugrad.emulator.registers import Registers
from mcugrad.emulator.trace import Trace
from mcugrad.errors import InternalError

SVC_INTERRUPT = 2
LISTENING = 5  # CR1: UE and RE
UNDEFINED = 1 << 16
CYCCNT = 0xE0001004


class Machine:
    """One board with one image. `run` returns when the host side is closed or a command waits."""

    def __init__(self, board: Board, image: Image, host_fd: int, control_fd: int = -1) -> None:
        self.board, self.image, self.chip = board, image, CHIPS[board.chip]
        self.reports: Counter[tuple[str, str]] = Counter()
        self.waiting = self.flush_asked = self.hung = self.halted = False
        self.resets, self.stack_top = 0, 0
        self.last = board.flash.end - 2
        self.failure: BaseException | None = None
        self.trace = Trace(())
        self.hooks = native.load()
        self.mcu = native.Mcu()
        self.mcu.uart.host_fd, self.mcu.uart.control_fd, self.mcu.uart.debug_fd = host_fd, control_fd, -1
        self.mcu.step_end = native.NEVER
        self.mcu.mispredict = scoreboard.MISPREDICT
        self.memory, self.analyser = Memory(board), blocks.Analyser()
        self.registers = Registers(board, self.mcu, self.hooks, self.report)
        self.nvic = nvic.Nvic(self.mcu, self.chip, board.uart.name, self._ask_flush)
        self.core = engine.Engine(self.mcu)
        self.exceptions = Exceptions(board, self.core, self.memory, self.nvic, self.report)
        self._connect()
        self.power_on()

    def _connect(self) -> None:
        mcu = self.mcu
        mcu.measure, mcu.locate = native.MEASURE(self._measure), native.MEASURE(self._locate)
        mcu.unaligned, mcu.marked = native.UNALIGNED(self._unaligned), native.MARKED(self._marked)
        mcu.read, mcu.write = native.READ(self._read), native.WRITE(self._write)
        self.core.map_memory(self.memory.buffers)
        self.core.map_peripherals((*self.chip.ranges, *SYSTEM), self.hooks)
        self.core.hook(self.hooks)

    def report(self, kind: str, text: str) -> None:
        """Note what a chip would not forgive; the command `faults` lists it."""
        self.reports[kind, text] += 1

    # power and reset

    def power_on(self) -> None:
        """RAM painted, flash as in the image, counters and notes empty, nothing on the line."""
        self.memory.power_on(self.image)
        self.registers.power_on()
        for notes in (self.reports, self.exceptions.faults, self.nvic.unmodelled):
            notes.clear()
        for counter in (
            "insns",
            "cycles",
            "idle_cycles",
            "mispredicts",
            "mark_count",
            "call_count",
            "poll_at",
        ):
            setattr(self.mcu, counter, 0)
        self.reset("power")
        self.resets = 0

    def reset(self, cause: str) -> None:
        """Core and peripherals to their reset state; RAM keeps its content. cause: of clock.RESET_FLAGS."""
        self.registers.reset(cause)
        self.nvic.reset()
        self.exceptions.locked = self.waiting = self.hung = False
        self.resets += 1
        self.mcu.fault = self.mcu.depth = self.mcu.sample_sp = 0
        self.mcu.epoch += 1
        self.forget_code()
        for which in (*engine.CORE, *engine.MASKS):
            self.core.set(which, 0)
        stack, start = struct.unpack("<II", self.memory.read(self.board.flash.origin, 8) or bytes(8))
        for which, value in ((LR, 0xFFFFFFFF), (SP, stack), (PC, start & ~1)):
            self.core.set(which, value)
        self.mcu.sp_low = self.stack_top = stack
        self.core.flush()

    def forget_code(self) -> None:
        """Code in RAM may be another from now on."""
        self.mcu.block = 0
        self.memory.forget_code()
        self.core.forget()

    def boot(self) -> None:
        """Until the UART listens, at most a fifth of a second of board time: earlier bytes would be lost."""
        uart, end = self.mcu.uart, self.mcu.cycles + self.board.cpu_hz // 5
        while uart.cr1 & LISTENING != LISTENING and self.mcu.cycles < end and not self._called():
            self._turn(self.mcu.cycles + 50_000)

    # running

    def run(self) -> None:
        """Until the host closes the line, a command waits, or a breakpoint is met."""
        while not self._called():
            self._turn(native.NEVER)
        self.mcu.attention = 0

    def step(self) -> None:
        """One instruction, whatever interrupt is pending; time that it spends asleep passes."""
        self.waiting = False
        self.mcu.step_end = self.mcu.insns + 1
        self._enter(native.NEVER)
        self.mcu.step_end = native.NEVER

    def _called(self) -> bool:
        return bool(self.mcu.attention or self.halted)

    def _turn(self, until: int) -> None:
        bite = self.registers.watchdog.deadline
        if self.mcu.cycles >= bite or (self.hung and bite != native.NEVER):
            self.mcu.cycles = max(self.mcu.cycles, bite)
            self.reset("watchdog")
        elif self.hung:
            self.hooks.mg_idle(ct.byref(self.mcu))
        else:
            self._execute(min(until, bite))

    def _execute(self, until: int) -> None:
        if self.exceptions.locked or (self.waiting and not self._awake()):
            self.hooks.mg_idle(ct.byref(self.mcu))
            return
        self.waiting = False
        self.exceptions.deliver()
        self.nvic.listen(self.exceptions.current())
        self._enter(until)

    def _enter(self, until: int) -> None:
        self.mcu.stopped = self.mcu.limit = 0
        self.mcu.event_at = min(self.mcu.event_at, until)
        error = self.core.run(self.last)
        self._after(error)
        if self.failure:
            raise self.failure
        self._answer_requests()

    def _awake(self) -> bool:
        self.nvic.tick()
        self.nvic.raise_lines()
        return self.nvic.next() is not None

    def _after(self, error: int) -> None:
        pc, interrupt = self.core.get(PC), self.core.interrupt
        if pc >= EXC_RETURN:
            self.mcu.fault = native.FAULT_NONE
            self.exceptions.leave()
        elif self.mcu.fault:
            self.exceptions.memory_fault(pc)
        elif interrupt == SVC_INTERRUPT:
            self.exceptions.enter(nvic.SVC, pc)
        elif error == engine.INVALID or interrupt >= 0:
            self.exceptions.fault(nvic.USAGE, pc, UNDEFINED, None)
        elif error:
            raise InternalError(f"Unicorn stopped at {pc:#010x}: {engine.describe(error)}")
        else:
            self.halted = not self.mcu.stopped and pc in self.core.exits
            self.waiting = not self.mcu.stopped and not self.halted

    def _ask_flush(self) -> None:
        self.flush_asked = True
        self.mcu.attention = 1

    def _answer_requests(self) -> None:
        """What a register write asked for and a callback must not do. A waiting command asks again."""
        if self.nvic.reset_asked or self.flush_asked:
            self.mcu.attention = 0
        if self.nvic.reset_asked:
            self.reset("software")
        if self.flush_asked:
            self.flush_asked = False
            self.core.flush()

    # callbacks from native code; an exception must not be lost there

    def _guard(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self.mcu.attention = 1
        self.mcu.limit = 0

    def _measure(self, addr: int, size: int, out: Any) -> None:
        try:
            self._fill(out.contents, addr, self.memory.read(addr, size) or b"")
        except BaseException as error:
            self._guard(error)

    def _fill(self, block: native.Block, addr: int, code: bytes) -> None:
        cost = self.analyser.cost(code, addr)
        kept = block.flags & (native.BLOCK_ENTRY | native.BLOCK_RETURN | native.BLOCK_SEEN)
        found = native.BLOCK_SP * cost.moves_sp | native.BLOCK_CONDITIONAL * cost.conditional
        block.size, block.insns, block.cycles, block.dip = len(code), cost.insns, cost.cycles, cost.dip
        block.flags, block.tail, block.tail_cycles = kept | found, native.UNKNOWN, 0
        if cost.fpu and not self.nvic.fpu_on():
            self.report("fpu", f"floating point at {addr:#010x} while CPACR keeps it off")
        if cost.double and not self.chip.double:
            self.report("fpu", f"double precision at {addr:#010x}: this chip has none")

    def _locate(self, addr: int, size: int, out: Any) -> None:
        try:
            code, block = self.memory.read(addr, size) or b"", out.contents
            past = self.analyser.reader(code, addr, self.core.core(), CYCCNT)
            rest = self.analyser.cost(code[past:], addr + past)
            block.tail, block.tail_cycles = rest.insns, min(block.cycles, rest.cycles if rest.insns else 0)
        except BaseException as error:
            self._guard(error)

    def _unaligned(self, pc: int, addr: int) -> None:
        try:
            name = self.analyser.name(self.memory.read(pc, 4) or b"", pc)
            if blocks.NEEDS_WORDS.match(name):
                self.report("unaligned", f"{name} at {pc:#010x} of {addr:#010x}: a UsageFault on the chip")
        except BaseException as error:
            self._guard(error)

    def _marked(self) -> None:
        try:
            self.trace.at_mark(self.memory)
        except BaseException as error:
            self._guard(error)

    def _read(self, addr: int, size: int) -> int:
        try:
            return self.peripheral(addr).read(addr & ~3) >> 8 * (addr & 3) & (1 << 8 * size) - 1
        except BaseException as error:
            self._guard(error)
            return 0

    def _write(self, addr: int, value: int, size: int) -> None:
        try:
            if size < 4:
                shift, mask = 8 * (addr & 3), (1 << 8 * size) - 1
                value = self.peripheral(addr).read(addr & ~3) & ~(mask << shift) | (value & mask) << shift
            self.peripheral(addr).write(addr & ~3, value & 0xFFFFFFFF)
        except BaseException as error:
            self._guard(error)

    def peripheral(self, addr: int) -> nvic.Nvic | Registers:
        """What holds a register outside the native serial path."""
        return self.nvic if addr >= 0xE0000000 else self.registers
