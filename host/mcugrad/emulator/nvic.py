"""The core's own registers (SCB, NVIC, SysTick, MPU, DWT) and which exception is to be taken next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from mcugrad.emulator import native
from mcugrad.emulator.chip import IRQ_OF_STREAM, IRQ_OF_USART, Chip

NMI, HARD, MEMORY, BUS, USAGE, SVC, PENDSV, SYSTICK = 2, 3, 4, 5, 6, 11, 14, 15
FAULT_ENABLE = {MEMORY: 16, BUS: 17, USAGE: 18}
IDLE_PRIORITY = 256
SCS, DWT, DBGMCU = 0xE000E000, 0xE0001000, 0xE0042000
STORED = frozenset(
    {
        0x008,
        0xD08,
        0xD10,
        0xD14,
        0xD18,
        0xD1C,
        0xD20,
        0xD24,
        0xD28,
        0xD2C,
        0xD34,
        0xD38,
        0xD84,
        0xD88,
        0xD94,
        0xD98,
    }
    | {0xDFC, 0xF34, 0xF38, *range(0x400, 0x4F0, 4)}
)
MAINTENANCE = frozenset(range(0xF50, 0xF80, 4))  # cache maintenance: no cache is modelled
WRITE_ONE_CLEARS = frozenset({0xD28, 0xD2C})


class Nvic:
    """Offsets are from 0xE000E000. The smallest priority wins; IDLE_PRIORITY: nothing is active."""

    def __init__(self, mcu: native.Mcu, chip: Chip, usart: str, flush: Callable[[], None]) -> None:
        self.mcu, self.chip, self.flush = mcu, chip, flush
        self.lines = (IRQ_OF_USART[usart], *IRQ_OF_STREAM)
        self.unmodelled: Counter[tuple[str, int]] = Counter()
        self.values: dict[int, int] = {}
        self.pending: set[int] = set()
        self.enabled: set[int] = set()
        self.active: list[int] = []
        self.reset()

    def reset(self) -> None:
        self.values.clear()
        self.values.update({0xD08: 0, 0xD14: 0x40200, 0xD0C: 0xFA050000})
        self.pending.clear()
        self.enabled.clear()
        self.active.clear()
        self.regions: dict[int, tuple[int, int]] = {}
        self.tick_from = 0
        self.counted = False
        self.reset_asked = False
        self.mcu.cyccnt_on = self.mcu.cyccnt_base = 0
        self.tick_at = self.mcu.event_at = native.NEVER
        self.mcu.sp_floor = 0
        for row in self.mcu.protected:
            row[2] = 0

    # registers

    def read(self, addr: int) -> int:
        if addr & ~0xFFF == DWT:
            return int(0x40000000 | self.mcu.cyccnt_on) if addr == DWT else 0
        if addr == DBGMCU:
            return self.chip.idcode
        return self._read(addr - SCS)

    def _read(self, at: int) -> int:
        if at == 0x010:
            return self._tick_status()
        if at in (0x014, 0x018, 0x01C):
            return {0x014: self._reload(), 0x018: self._tick_value(), 0x01C: 0xC0000000}[at]
        if 0x100 <= at < 0x200:
            return self._bits(self.enabled, at & 0x7C)
        if 0x200 <= at < 0x300:
            return self._bits(self.pending, at & 0x7C)
        if at in (0xD00, 0xD80):
            return self.chip.cpuid if at == 0xD00 else self.chip.ccsidr[self.values.get(0xD84, 0) & 1]
        if at == 0xD04:
            return self.active[-1] if self.active else 0
        if at in (0xD78, 0xD7C, 0xD90):
            return {0xD78: 0x09000003, 0xD7C: 0x8303C003, 0xD90: 0x800}[at]
        if at in (0xD9C, 0xDA0):
            return self.regions.get(self.values.get(0xD98, 0), (0, 0))[(at - 0xD9C) // 4]
        if at not in STORED and at != 0xD0C:
            self.unmodelled["read", SCS + at] += 1
        return self.values.get(at, 0)

    def write(self, addr: int, value: int) -> None:
        if addr & ~0xFFF == DWT:
            self._write_dwt(addr - DWT, value)
        elif addr & ~0xFFF == SCS:
            self._write(addr - SCS, value)

    def _write_dwt(self, at: int, value: int) -> None:
        if at == 0 and self.values.get(0xDFC, 0) >> 24 & 1 and (value & 1) != self.mcu.cyccnt_on:
            # While off, the base holds the frozen count itself.
            self.mcu.cyccnt_base = (self.mcu.cycles - self.mcu.cyccnt_base) & (2**64 - 1)
            self.mcu.cyccnt_on = value & 1
        elif at not in (0, 0xFB0):
            self.unmodelled["write", DWT + at] += 1

    def _write(self, at: int, value: int) -> None:
        if at in (0x010, 0x014, 0x018):
            self._write_tick(at, value)
        elif 0x100 <= at < 0x300:
            target = self.enabled if at < 0x200 else self.pending
            self._change(target, at & 0x7C, value, bool(at & 0x80))
        elif at == 0xD04:
            self._write_icsr(value)
        elif at == 0xD0C:
            self.reset_asked = value & 0xFFFF0004 == 0x05FA0004
            self.mcu.attention |= self.reset_asked
        elif at in (0xD94, 0xD9C, 0xDA0):
            self._write_mpu(at, value)
        elif at in STORED:
            old = self.values.get(at, 0)
            self.values[at] = old & ~value if at in WRITE_ONE_CLEARS else value
        elif at not in MAINTENANCE and at != 0xF00:
            self.unmodelled["write", SCS + at] += 1

    def _bits(self, numbers: set[int], at: int) -> int:
        return sum(1 << i for i in range(32) if 16 + at * 8 + i in numbers)

    def _change(self, numbers: set[int], at: int, value: int, clear: bool) -> None:
        named = {16 + at * 8 + i for i in range(32) if value >> i & 1}
        if clear:
            numbers.difference_update(named)
        else:
            numbers.update(named)

    def _write_icsr(self, value: int) -> None:
        for bit, number, add in (
            (31, NMI, True),
            (28, PENDSV, True),
            (27, PENDSV, False),
            (26, SYSTICK, True),
            (25, SYSTICK, False),
        ):
            if value >> bit & 1:
                (self.pending.add if add else self.pending.discard)(number)

    # MPU

    def _write_mpu(self, at: int, value: int) -> None:
        if at == 0xD9C and value & 16:
            self.values[0xD98] = value & 15
        number = self.values.get(0xD98, 0)
        base, attributes = self.regions.get(number, (0, 0))
        if at == 0xD94:
            self.values[at] = value
        else:
            self.regions[number] = (value & ~31, attributes) if at == 0xD9C else (base, value)
        self._protect()

    def _protect(self) -> None:
        """Only "no access" is modelled: pages by the native gate, a region below a page as a floor for SP."""
        on = self.values.get(0xD94, 0) & 1
        self.mcu.sp_floor = 0
        for number, (base, attributes) in self.regions.items():
            size = 2 << (attributes >> 1 & 31)
            refuse = attributes >> 24 & 7 == 0
            live = on and attributes & 1
            row = self.mcu.protected[number]
            row[0], row[1], row[2] = base, base + size - 1, (1 if refuse else 2) if live else 0
            self.mcu.disabled[number] = attributes >> 8 & 0xFF
            if live and refuse and size < 1024:
                self.mcu.sp_floor = base + size
        self.flush()

    def cacheable(self, addr: int) -> bool:
        """Whether the data cache may hold a RAM address, by the MPU's topmost region over it."""
        if not self.values.get(0xD14, 0) >> 16 & 1:
            return False
        for number in sorted(self.regions, reverse=True):
            base, attributes = self.regions[number]
            if attributes & 1 and 0 <= addr - base < 2 << (attributes >> 1 & 31):
                return bool(attributes >> 17 & 1)
        return True

    # SysTick

    def _reload(self) -> int:
        return self.values.get(0x014, 0) & 0xFFFFFF

    def _ticking(self) -> bool:
        return bool(self.values.get(0x010, 0) & 1 and self._reload())

    def _tick_value(self) -> int:
        passed = (self.mcu.cycles - self.tick_from) % (self._reload() + 1)
        return (self._reload() + 1 - passed) % (self._reload() + 1) if self._ticking() else 0

    def _tick_status(self) -> int:
        rounds = (self.mcu.cycles - self.tick_from) // (self._reload() + 1) if self._ticking() else 0
        if rounds:
            self.tick_from += rounds * (self._reload() + 1)
        wrapped, self.counted = bool(rounds) or self.counted, False
        return self.values.get(0x010, 0) & 7 | wrapped << 16

    def _write_tick(self, at: int, value: int) -> None:
        if at != 0x018:
            self.values[at] = value
        if at != 0x014:
            self.tick_from = self.mcu.cycles
        self.schedule()

    def schedule(self) -> None:
        """When the clock next has something to say."""
        wanted = self._ticking() and self.values.get(0x010, 0) & 2
        period = self._reload() + 1
        rounds = (self.mcu.cycles - self.tick_from) // period + 1
        self.tick_at = self.mcu.event_at = self.tick_from + rounds * period if wanted else native.NEVER

    def tick(self) -> None:
        """Pend SysTick when its period has ended; else leave it."""
        if self.mcu.cycles >= self.tick_at:
            self.counted = True
            self.pending.add(SYSTICK)
        self.schedule()

    # exceptions

    def priority(self, number: int) -> int:
        if number < MEMORY:
            return {NMI: -2, HARD: -1}[number]
        at = 0xD14 + number if number < 16 else 0x400 + number - 16
        return self.values.get(at & ~3, 0) >> 8 * (at & 3) & 0xF0

    def current(self, primask: int, faultmask: int, basepri: int) -> int:
        """The priority that a new exception has to beat."""
        levels = [IDLE_PRIORITY, *(self.priority(n) for n in self.active)]
        levels += [0] * (primask & 1) + [-1] * (faultmask & 1) + [basepri] * bool(basepri)
        return min(levels)

    def raise_lines(self) -> None:
        """Level-sensitive requests of the serial side."""
        for i, irq in enumerate(self.lines):
            if self.mcu.irq_lines >> i & 1 and 16 + irq not in self.active:
                self.pending.add(16 + irq)

    def listen(self, current: int) -> None:
        """Which lines may stop the native loop: those whose exception would be taken at once."""
        self.mcu.irq_listen = sum(
            1 << i
            for i, irq in enumerate(self.lines)
            if 16 + irq in self.enabled and self.priority(16 + irq) < current
        )

    def fpu_on(self) -> bool:
        return self.values.get(0xD88, 0) >> 20 & 15 == 15

    def next(self) -> int | None:
        """The most urgent pending exception that is enabled."""
        ready = [n for n in self.pending if n < 16 or n in self.enabled]
        return min(ready, key=lambda n: (self.priority(n), n), default=None)

    def fault_number(self, number: int, current: int) -> int | None:
        """The handler that takes a fault: its own, else HardFault, else None (lock-up)."""
        enabled = self.values.get(0xD24, 0) >> FAULT_ENABLE[number] & 1
        if enabled and self.priority(number) < current:
            return number
        self.values[0xD2C] = self.values.get(0xD2C, 0) | 1 << 30
        return HARD if current > -1 else None
