"""Unicorn's Cortex-M7 as plain calls: registers, maps, native callbacks. Only this module imports it."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Iterable
from typing import Any

import unicorn.unicorn_py3.unicorn as binding
from unicorn import arm_const as reg
from unicorn import unicorn_const as uc

from mcugrad.emulator import native
from mcugrad.emulator.memory import Buffer
from mcugrad.errors import InternalError

CORE = tuple(getattr(reg, f"UC_ARM_REG_R{i}") for i in range(13))
FLOATS = tuple(getattr(reg, f"UC_ARM_REG_S{i}") for i in range(32))
SP, LR, PC, CPSR = reg.UC_ARM_REG_SP, reg.UC_ARM_REG_LR, reg.UC_ARM_REG_PC, reg.UC_ARM_REG_CPSR
FPSCR, MASKS = (
    reg.UC_ARM_REG_FPSCR,
    (reg.UC_ARM_REG_PRIMASK, reg.UC_ARM_REG_FAULTMASK, reg.UC_ARM_REG_BASEPRI),
)
FETCH = uc.UC_MEM_FETCH
OK, INVALID, EXCEPTION = uc.UC_ERR_OK, uc.UC_ERR_INSN_INVALID, uc.UC_ERR_EXCEPTION
EVERYWHERE = (ct.c_uint64(1), ct.c_uint64(0))


def describe(error: int) -> str:
    """Unicorn's words for an error number."""
    return str(binding.UcError(error))


class Engine:
    """`interrupt`: number of the exception that stopped the last run, None for any other reason."""

    def __init__(self, mcu: native.Mcu) -> None:
        # UC_MODE_MCLASS would silently make this a Cortex-M33.
        self.uc: Any = binding.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB)
        self.uc.ctl_set_cpu_model(reg.UC_CPU_ARM_CORTEX_M7)
        self.uc.ctl_tlb_mode(uc.UC_TLB_VIRTUAL)
        self.lib: Any = binding.uclib
        self.lib.uc_mmio_map.argtypes = [ct.c_void_p, ct.c_uint64, ct.c_uint64, *[ct.c_void_p] * 4]
        self.handle = self.uc._uch
        self.mcu, self.interrupt = mcu, -1
        self.windows: list[Any] = []
        self.exits: frozenset[int] = frozenset()
        self.memory_hook = ct.c_size_t()
        mcu.uc = ct.cast(self.handle, ct.c_void_p).value
        mcu.stop = ct.cast(self.lib.uc_emu_stop, ct.c_void_p).value
        mcu.reg_read = ct.cast(self.lib.uc_reg_read, ct.c_void_p).value
        mcu.reg_write = ct.cast(self.lib.uc_reg_write, ct.c_void_p).value

    def hook(self, hooks: ct.CDLL) -> None:
        """Blocks and page look-ups go to native code. Any memory hook would make stores 15 times slower."""
        for kind, function in ((uc.UC_HOOK_BLOCK, hooks.mg_on_block), (uc.UC_HOOK_TLB_FILL, hooks.mg_on_tlb)):
            made, address = ct.c_size_t(), ct.cast(function, ct.c_void_p)
            if self.lib.uc_hook_add(
                self.handle, ct.byref(made), kind, address, ct.byref(self.mcu), *EVERYWHERE
            ):
                raise InternalError(f"Unicorn refused hook {kind}")
        self.uc.hook_add(uc.UC_HOOK_INTR, self._on_interrupt)

    def watch_memory(self, hooks: ct.CDLL, on: bool) -> None:
        """Every load and store goes through native code: several times slower, so only on demand."""
        if bool(self.memory_hook.value) == on:
            return
        if on:
            kinds, address = (
                uc.UC_HOOK_MEM_READ | uc.UC_HOOK_MEM_WRITE,
                ct.cast(hooks.mg_on_access, ct.c_void_p),
            )
            made, data = ct.byref(self.memory_hook), ct.byref(self.mcu)
            self.lib.uc_hook_add(self.handle, made, kinds, address, data, *EVERYWHERE)
        else:
            self.lib.uc_hook_del(self.handle, self.memory_hook)
            self.memory_hook = ct.c_size_t()
        self.forget()

    def _on_interrupt(self, _uc: Any, number: int, _data: Any) -> None:
        self.interrupt = number
        self.uc.emu_stop()

    def map_memory(self, buffers: list[Buffer]) -> None:
        for region, buffer in zip(self.mcu.regions, buffers, strict=False):
            allowed = uc.UC_PROT_READ
            allowed |= uc.UC_PROT_EXEC if buffer.flags & native.REGION_CODE else 0
            allowed |= uc.UC_PROT_WRITE if buffer.flags & native.REGION_WRITE else 0
            self.uc.mem_map_ptr(buffer.origin, buffer.size, allowed, ct.c_void_p(buffer.host))
            region.base, region.size, region.flags, region.host = (
                buffer.origin,
                buffer.size,
                buffer.flags,
                buffer.host,
            )
            if buffer.blocks is not None:
                region.blocks = ct.cast(buffer.blocks, ct.POINTER(native.Block))

    def map_peripherals(self, ranges: tuple[tuple[int, int], ...], hooks: ct.CDLL) -> None:
        functions = [ct.cast(f, ct.c_void_p) for f in (hooks.mg_on_read, hooks.mg_on_write)]
        for (base, size), window in zip(ranges, self.mcu.windows, strict=False):
            data = (ct.c_void_p * 2)(ct.addressof(self.mcu), base)
            self.windows.append(data)
            window[0], window[1] = base, size
            if self.lib.uc_mmio_map(self.handle, base, size, functions[0], data, functions[1], data):
                raise InternalError(f"cannot map the peripherals at {base:#010x}")

    def run(self, last: int) -> int:
        """From PC until something stops it; Unicorn's error number. `last`: an address never reached."""
        self.interrupt = -1
        start = ct.c_uint64(self.get(PC) | 1)
        return int(
            self.lib.uc_emu_start(self.handle, start, ct.c_uint64(last), ct.c_uint64(0), ct.c_size_t(0))
        )

    def set_exits(self, addresses: Iterable[int]) -> None:
        """Stop before the instructions at these addresses; instruction counts stay what they are without."""
        self.exits = frozenset(addresses)
        self.uc.ctl_exits_enabled(bool(self.exits))
        if self.exits:
            self.uc.ctl_set_exits(sorted(self.exits))
        self.forget()

    def forget(self) -> None:
        """Drop the translated code."""
        self.uc.ctl_flush_tb()

    def get(self, which: int) -> int:
        value = ct.c_uint32()
        self.lib.uc_reg_read(self.handle, which, ct.byref(value))
        return value.value

    def set(self, which: int, value: int) -> None:
        self.lib.uc_reg_write(self.handle, which, ct.byref(ct.c_uint32(value & 0xFFFFFFFF)))

    def core(self) -> list[int]:
        """r0-r12, sp, lr."""
        return [self.get(r) for r in (*CORE, SP, LR)]

    def flush(self) -> None:
        """Forget which pages may be accessed. Not from a callback: the access under way still uses them."""
        self.lib.uc_ctl(self.handle, uc.UC_CTL_TLB_FLUSH | uc.UC_CTL_IO_WRITE << 30)
