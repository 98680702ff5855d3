"""RCC, PWR and FLASH as far as a clock bring-up needs them: ready bits, and the tree that they imply."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Values = dict[int, int]
Report = Callable[[str, str], None]
AHB = {**dict.fromkeys(range(8), 1), 8: 2, 9: 4, 10: 8, 11: 16, 12: 64, 13: 128, 14: 256, 15: 512}
APB = {**dict.fromkeys(range(4), 1), 4: 2, 5: 4, 6: 8, 7: 16}
USART_SELECT = {"USART1": 0, "USART2": 2, "USART3": 4, "UART4": 6, "UART5": 8, "USART6": 10}
RESET_FLAGS = {
    "power": "power pin brownout",
    "software": "software pin",
    "pin": "pin",
    "watchdog": "watchdog pin",
}


@dataclass(frozen=True)
class Tree:
    """Hertz of the core and of the board's USART."""

    core: int
    uart: int


def ready(value: int, pairs: tuple[tuple[int, int], ...]) -> int:
    """Every ready bit follows its enable bit at once."""
    for on, done in pairs:
        value = value & ~(1 << done) | (value >> on & 1) << done
    return value


class ClocksF7:
    """Addresses are offsets from RCC, PWR or FLASH; `values` holds whatever software stored."""

    FLAGS: Mapping[str, int] = {"brownout": 25, "pin": 26, "power": 27, "software": 28, "watchdog": 29}
    HSI = 16_000_000

    def __init__(self, rcc: int, pwr: int, flash: int, values: Values, report: Report) -> None:
        self.rcc, self.pwr, self.flash, self.values, self.report = rcc, pwr, flash, values, report

    def reset(self, cause: str) -> None:
        flags = sum(1 << self.FLAGS[name] for name in RESET_FLAGS[cause].split())
        self.values |= {self.rcc: 0x83, self.rcc + 4: 0x24003010, self.rcc + 0x74: flags}
        self.values |= {self.pwr: 0xC000, self.pwr + 4: 0x4000}

    def owns(self, addr: int) -> bool:
        return 0 <= addr - self.rcc <= 0x94 or addr in (self.pwr, self.pwr + 4, self.pwr + 8, self.pwr + 12)

    def store(self, addr: int, value: int) -> None:
        """What a write leaves in a register, ready bits included."""
        if addr == self.rcc:
            if value & 1 << 16:
                self.report("unmodelled", "HSE: this board's crystal is not modelled, HSERDY stays 0")
            value = ready(value & ~(1 << 17), ((0, 1), (24, 25), (26, 27), (28, 29)))
        elif addr == self.rcc + 8:
            value = value & ~0xC | (value & 3) << 2
        elif addr == self.rcc + 0x74:
            kept = 0 if value & 1 << 24 else self.values.get(addr, 0) & 0xFE000000
            value = kept | (value & 1) * 3
        elif addr == self.pwr:
            self.values[self.pwr + 4] = 0x4000 | value & 0x30000
        self.values[addr] = value

    def tree(self, usart: str) -> Tree:
        get = self.values.get
        cfgr, pll = get(self.rcc + 8, 0), get(self.rcc + 4, 0)
        vco = self.HSI // max(2, pll & 63) * (pll >> 6 & 511)
        sysclk = vco // ((pll >> 16 & 3) * 2 + 2) if cfgr & 3 == 2 else self.HSI
        core = sysclk // AHB[cfgr >> 4 & 15]
        shift = 13 if usart in ("USART1", "USART6") else 10
        select = get(self.rcc + 0x90, 0) >> USART_SELECT[usart] & 3
        self._check(core)
        return Tree(core, (core // APB[cfgr >> shift & 7], sysclk, self.HSI, 32768)[select])

    def _check(self, core: int) -> None:
        waits, need = self.values.get(self.flash, 0) & 15, math.ceil(core / 30e6) - 1
        if waits < need:
            self.report("clock", f"{core} Hz with {waits} flash wait states, needs {need}")
        if core > 180_000_000 and self.values.get(self.pwr, 0) & 0x30000 != 0x30000:
            self.report("clock", f"{core} Hz without over-drive")


class ClocksH7(ClocksF7):
    FLAGS: Mapping[str, int] = {"brownout": 21, "pin": 22, "power": 23, "software": 24, "watchdog": 26}
    HSI = 64_000_000

    def reset(self, cause: str) -> None:
        flags = sum(1 << self.FLAGS[name] for name in RESET_FLAGS[cause].split())
        self.values |= {self.rcc: 0x25, self.rcc + 0x30: 0x01010280, self.rcc + 0x28: 0x02020200}
        self.values |= {
            self.rcc + 0xD0: flags,
            self.pwr + 4: 0x6000,
            self.pwr + 0x18: 0x6000,
            self.flash: 0x37,
        }

    def owns(self, addr: int) -> bool:
        return 0 <= addr - self.rcc <= 0x160 or 0 <= addr - self.pwr <= 0x30

    def store(self, addr: int, value: int) -> None:
        if addr == self.rcc:
            value = ready(value, ((0, 2), (7, 8), (24, 25), (26, 27), (28, 29)))
        elif addr == self.rcc + 0x10:
            value = value & ~0x38 | (value & 7) << 3
        elif addr == self.rcc + 0xD0:
            value = 0 if value & 1 << 16 else self.values.get(addr, 0)
        elif addr == self.pwr + 0x18:
            value |= 1 << 13
        self.values[addr] = value

    def tree(self, usart: str) -> Tree:
        get = self.values.get
        div, d1, d2 = (get(self.rcc + at, 0) for at in (0x30, 0x18, 0x1C))
        source = self.HSI // max(1, get(self.rcc + 0x28, 0) >> 4 & 63)
        pll = source * ((div & 511) + 1) // ((div >> 9 & 127) + 1)
        sysclk = pll if get(self.rcc + 0x10, 0) & 7 == 3 else self.HSI
        core = sysclk // AHB[d1 >> 8 & 15]
        bus = core // AHB[d1 & 15]
        return Tree(core, bus // APB[d2 >> (8 if usart in ("USART1", "USART6") else 4) & 7])


CLOCKS = {"stm32f7": ClocksF7, "stm32h7": ClocksH7}
