"""What a debugger does with a machine: halt, step, break, read and write registers and memory."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Callable

from mcugrad.emulator.blocks import length
from mcugrad.emulator.engine import CORE, CPSR, FLOATS, FPSCR, LR, MASKS, PC, SP
from mcugrad.emulator.exceptions import SHARED
from mcugrad.emulator.machine import Machine

THUMB = 1 << 24
PERIPHERALS = ((0x40000000, 0x20000000), (0xE0000000, 0x00100000))
_XPSR, _PSP, _CONTROL = -1, -2, -3
PRIMASK, FAULTMASK, BASEPRI = MASKS
# In GDB's order; a double is two words.
WORDS = (*CORE, SP, LR, PC, _XPSR, *FLOATS, FPSCR, SP, _PSP, PRIMASK, BASEPRI, FAULTMASK, _CONTROL)


class Debugger:
    """`breakpoints`: addresses before whose instruction the machine halts."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.breakpoints: set[int] = set()

    def halt(self) -> None:
        self.machine.halted = True

    def resume(self) -> None:
        """Let `run` go on, from a breakpoint too."""
        if self.pc in self.breakpoints:
            self.step()
        self._arm(self.breakpoints)
        self.machine.halted = False

    def step(self) -> None:
        """One instruction; no interrupt is taken, a fault is."""
        code = self.machine.memory.read(self.pc, 2)
        self._arm({self.pc + length(int.from_bytes(code, "little"))} if code else set())
        self.machine.step()
        self.machine.halted = True

    def step_range(self, first: int, end: int, interrupted: Callable[[], bool]) -> None:
        """Step until the PC leaves [first, end), meets a breakpoint, or somebody interrupts."""
        self.step()
        while first <= self.pc < end and self.pc not in self.breakpoints and not interrupted():
            self.step()

    def release(self) -> None:
        """No debugger any more: the machine runs as if there had been none."""
        self.breakpoints.clear()
        self.resume()

    def reset(self) -> None:
        """To the first instruction, and halt there."""
        self.machine.reset("pin")
        self.halt()

    def _arm(self, addresses: set[int]) -> None:
        last = {self.machine.last} if addresses else set()
        self.machine.core.set_exits(addresses | last)

    @property
    def pc(self) -> int:
        return self.machine.core.get(PC)

    # registers

    def read_word(self, index: int) -> int:
        """Register words in the order of WORDS."""
        which = WORDS[index]
        if which == _XPSR:
            active = self.machine.nvic.active
            return self.machine.core.get(CPSR) & SHARED | THUMB | (active[-1] if active else 0)
        return 0 if which in (_PSP, _CONTROL) else self.machine.core.get(which)

    def write_word(self, index: int, value: int) -> None:
        which = WORDS[index]
        if which == _XPSR:
            value = self.machine.core.get(CPSR) & ~SHARED | value & SHARED
            which = CPSR
        elif which == PC:
            value &= ~1
        if which not in (_PSP, _CONTROL):
            self.machine.core.set(which, value)

    # memory

    def read(self, addr: int, size: int) -> bytes | None:
        """None where nothing answers. A read of a peripheral's register does what the core's would."""
        if any(base <= addr and addr + size <= base + extent for base, extent in PERIPHERALS):
            words = (self._peripheral(at) for at in range(addr & ~3, addr + size, 4))
            data = b"".join(word.to_bytes(4, "little") for word in words)
            return data[addr & 3 :][:size]
        return self.machine.memory.read(addr, size)

    def write(self, addr: int, data: bytes) -> bool:
        """False where that is refused: flash, nobody's address, part of a peripheral's word."""
        if any(base <= addr < base + extent for base, extent in PERIPHERALS):
            return self._write_peripheral(addr, data)
        done = self.machine.memory.store(addr, data)
        self.machine.forget_code()
        return done

    def _peripheral(self, addr: int) -> int:
        value = ct.c_uint64()
        if self.machine.hooks.mg_serial_read(ct.byref(self.machine.mcu), addr, ct.byref(value)):
            return value.value & 0xFFFFFFFF
        return self.machine.peripheral(addr).read(addr)

    def _write_peripheral(self, addr: int, data: bytes) -> bool:
        if len(data) != 4 or addr & 3:
            return False
        value = int.from_bytes(data, "little")
        if not self.machine.hooks.mg_serial_write(ct.byref(self.machine.mcu), addr, value):
            self.machine.peripheral(addr).write(addr, value)
        return True
