"""Facts of the chip families that no board file holds: addresses, clock gates, DMA requests, interrupts.

Numbers: RM0385 (F74x) and RM0433 (H743), tables "memory map", "RCC", "DMA request mapping", "vector table".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SYSTEM = ((0xE0000000, 0x2000), (0xE000E000, 0x1000), (0xE0042000, 0x400))
IRQ_OF_USART = {"USART1": 37, "USART2": 38, "USART3": 39, "UART4": 52, "UART5": 53, "USART6": 71}
IRQ_OF_STREAM = (11, 12, 13, 14, 15, 16, 17, 47, 56, 57, 58, 59, 60, 68, 69, 70)


@dataclass(frozen=True)
class Chip:
    """ranges: (base, size) that answer on the bus. gates: block base -> (RCC enable register, bit).
    requests: USART name -> (stream, request number, whether it receives); `mux`: base of a DMAMUX or 0."""

    ranges: tuple[tuple[int, int], ...]
    rcc: int
    pwr: int
    flash: int
    gpio: int
    dma: tuple[int, int]
    gates: Mapping[int, tuple[int, int]]
    requests: Mapping[str, tuple[tuple[int, int, bool], ...]]
    mux: int
    itcm: int
    cpuid: int
    ccsidr: tuple[int, int]
    idcode: int
    dbgmcu: int
    iwdg: int
    double: bool
    plain: Mapping[int, int] = field(default_factory=dict)


def _gates(
    gpio: int, gpio_register: int, others: Mapping[int, tuple[int, int]]
) -> dict[int, tuple[int, int]]:
    return {**{gpio + 0x400 * i: (gpio_register, i) for i in range(11)}, **others}


F7_RCC, H7_RCC = 0x40023800, 0x58024400

STM32F7 = Chip(
    ranges=(
        (0x40000000, 0x8000),
        (0x40010000, 0x8000),
        (0x40020000, 0x6C00),
        (0x40026C00, 0x5400),
        (0x50060000, 0xC00),
    ),
    rcc=F7_RCC,
    pwr=0x40007000,
    flash=0x40023C00,
    gpio=0x40020000,
    dma=(0x40026000, 0x40026400),
    gates=_gates(
        0x40020000,
        F7_RCC + 0x30,
        {
            0x40026000: (F7_RCC + 0x30, 21),
            0x40026400: (F7_RCC + 0x30, 22),
            0x40007000: (F7_RCC + 0x40, 28),
            0x40004400: (F7_RCC + 0x40, 17),
            0x40004800: (F7_RCC + 0x40, 18),
            0x40004C00: (F7_RCC + 0x40, 19),
            0x40005000: (F7_RCC + 0x40, 20),
            0x40011000: (F7_RCC + 0x44, 4),
            0x40011400: (F7_RCC + 0x44, 5),
            0x40013800: (F7_RCC + 0x44, 14),
        },
    ),
    requests={
        "USART1": ((10, 4, True), (13, 4, True), (15, 4, False)),
        "USART2": ((5, 4, True), (6, 4, False)),
        "USART3": ((1, 4, True), (3, 4, False), (4, 7, False)),
        "UART4": ((2, 4, True), (4, 4, False)),
        "UART5": ((0, 4, True), (7, 4, False)),
        "USART6": ((9, 5, True), (10, 5, True), (14, 5, False), (15, 5, False)),
    },
    mux=0,
    itcm=16384,
    cpuid=0x410FC271,
    ccsidr=(0xF003E019, 0xF007E009),
    idcode=0x10016449,
    dbgmcu=0xE0042000,
    iwdg=0x40003000,
    double=False,
    plain={0x40023C00: 0x20, 0x40013800: 0x24, 0x40003000: 0x14, 0x40007000: 0x10},
)

_MUXED = {"USART1": 41, "USART2": 43, "USART3": 45, "UART4": 63, "UART5": 65, "USART6": 71}

STM32H7 = Chip(
    ranges=(
        (0x40000000, 0xD800),
        (0x40010000, 0x7800),
        (0x40020000, 0x6000),
        (0x48020000, 0x3000),
        (0x51000000, 0x100000),
        (0x52000000, 0x9000),
        (0x58000000, 0x7000),
        (0x58020000, 0x2C00),
        (0x58024400, 0x2400),
        (0x5C001000, 0x1000),
    ),
    rcc=H7_RCC,
    pwr=0x58024800,
    flash=0x52002000,
    gpio=0x58020000,
    dma=(0x40020000, 0x40020400),
    gates=_gates(
        0x58020000,
        H7_RCC + 0xE0,
        {
            0x40020000: (H7_RCC + 0xD8, 0),
            0x40020400: (H7_RCC + 0xD8, 1),
            0x40004400: (H7_RCC + 0xE8, 17),
            0x40004800: (H7_RCC + 0xE8, 18),
            0x40011000: (H7_RCC + 0xF0, 4),
            0x58000400: (H7_RCC + 0xF4, 1),
        },
    ),
    requests={n: tuple((s, r + t, t == 0) for s in range(16) for t in (0, 1)) for n, r in _MUXED.items()},
    mux=0x40020800,
    itcm=65536,
    cpuid=0x411FC271,
    ccsidr=(0xF00FE019, 0xF01FE009),
    idcode=0x20036450,
    dbgmcu=0x5C001000,
    iwdg=0x58004800,
    double=True,
    plain={0x5C001000: 4, 0x52002000: 0x80, 0x58000400: 0x30, 0x58004800: 0x14, 0x40020800: 0x40},
)

CHIPS = {"stm32f7": STM32F7, "stm32h7": STM32H7}
