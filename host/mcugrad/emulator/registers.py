"""Peripheral registers outside the native serial path; one without a model reads 0 and is reported."""

from __future__ import annotations

import ctypes as ct
from collections import Counter
from collections.abc import Callable, Iterator

from mcugrad.boards import Board
from mcugrad.emulator import native
from mcugrad.emulator.chip import CHIPS
from mcugrad.emulator.clock import CLOCKS
from mcugrad.emulator.watchdog import Watchdog

GPIO_SIZE = 0x2C
BAUD_TOLERANCE = 0.025
LINE_STATE = ("tx_at", "rx_at", "received", "overruns", "dropped", "sent", "head", "tail", "out_length")


class Registers:
    """Reads and writes of whole words; `mcu` holds the serial path's state, `hooks` its functions."""

    def __init__(
        self, board: Board, mcu: native.Mcu, hooks: ct.CDLL, report: Callable[[str, str], None]
    ) -> None:
        self.board, self.chip, self.mcu, self.hooks, self.report = (
            board,
            CHIPS[board.chip],
            mcu,
            hooks,
            report,
        )
        self.values: dict[int, int] = {}
        self.watchdog = Watchdog(mcu)
        self.unmodelled: Counter[tuple[str, int]] = Counter()
        clocks = CLOCKS[board.chip]
        self.clocks = clocks(self.chip.rcc, self.chip.pwr, self.chip.flash, self.values, report)

    def power_on(self) -> None:
        """Forget what was noted, and the bytes on the line."""
        self.unmodelled.clear()
        for name in LINE_STATE:
            setattr(self.mcu.uart, name, 0)

    def reset(self, cause: str) -> None:
        """Every register to its reset value; bytes on their way from the host stay on their way."""
        self.values.clear()
        self.clocks.reset(cause)
        self.watchdog.reset()
        self.values[self.chip.dbgmcu] = self.chip.idcode
        uart = self.mcu.uart
        for name in ("cr1", "cr2", "cr3", "brr", "rtor", "rdr"):
            setattr(uart, name, 0)
        uart.base, uart.isr, uart.idle_at = self.board.uart.base, 0xC0, native.NEVER
        ct.memset(self.mcu.streams, 0, ct.sizeof(self.mcu.streams))
        self._wire_streams()
        uart.byte_cycles = max(1, 10 * self.board.cpu_hz // self.board.baud)
        self._apply()

    def _wire_streams(self) -> None:
        self.mcu.dma_base[0], self.mcu.dma_base[1] = self.chip.dma
        self.mcu.mux = bool(self.chip.mux)
        for stream in self.mcu.streams:
            stream.rx_request = stream.tx_request = 0xFF
        for number, request, receives in self.chip.requests[self.board.uart.name]:
            setattr(self.mcu.streams[number], "rx_request" if receives else "tx_request", request)

    def read(self, addr: int) -> int:
        if not self._clocked(addr):
            self.report("clock off", f"read of {addr:#010x} while its clock is off")
        elif self._known(addr):
            return self.values.get(addr, 0)
        else:
            self.unmodelled["read", addr] += 1
        return 0

    def write(self, addr: int, value: int) -> None:
        if not self._clocked(addr):
            self.report("clock off", f"write of {addr:#010x} while its clock is off")
        elif self.clocks.owns(addr):
            self.clocks.store(addr, value)
            self._apply()
        elif self._known(addr):
            self._store(addr, value)
        else:
            self.unmodelled["write", addr] += 1

    def _clocked(self, addr: int) -> bool:
        gate = self.chip.gates.get(addr & ~0x3FF)
        return gate is None or bool(self.values.get(gate[0], 0) >> gate[1] & 1)

    def _known(self, addr: int) -> bool:
        base = addr & ~0x3FF
        gpio = 0 <= base - self.chip.gpio < 11 * 0x400
        return self.clocks.owns(addr) or addr - base < (GPIO_SIZE if gpio else self.chip.plain.get(base, 0))

    def _store(self, addr: int, value: int) -> None:
        if 0 <= addr - self.chip.gpio < 11 * 0x400 and addr & 0x3FF == 0x18:
            addr, value = addr - 4, self.values.get(addr - 4, 0) & ~(value >> 16) | value & 0xFFFF
        self.values[addr] = value
        if 0 <= addr - self.chip.iwdg < 16:
            self.watchdog.write(addr - self.chip.iwdg, value)
        if self.chip.mux and 0 <= addr - self.chip.mux < 64:
            self.mcu.streams[(addr - self.chip.mux) // 4].request = value & 0x7F
        self._apply()

    def _apply(self) -> None:
        """Clock gates, pins and rates, as the native side needs them."""
        uart = self.mcu.uart
        uart.clocked = self._clocked(self.board.uart.base)
        for i, base in enumerate(self.chip.dma):
            self.mcu.dma_clocked[i] = self._clocked(base)
        uart.rx_pin, uart.tx_pin = self._wired(self.board.uart.rx), self._wired(self.board.uart.tx)
        tree = self.clocks.tree(self.board.uart.name)
        self.mcu.hz = tree.core
        self.hooks.mg_set_ratio(self.mcu, 256 * tree.core // max(1, tree.uart))

    def _wired(self, pin: str) -> bool:
        """Whether "PD8" is an alternate-function pin that carries the USART."""
        base, bit = self.chip.gpio + 0x400 * (ord(pin[1]) - ord("A")), int(pin[2:])
        mode = self.values.get(base, 0) >> 2 * bit & 3
        function = self.values.get(base + 0x20 + 4 * (bit // 8), 0) >> 4 * (bit % 8) & 15
        return mode == 2 and function == (7 if self.board.uart.name in ("USART1", "USART2", "USART3") else 8)

    def suspicions(self, cacheable: Callable[[int], bool]) -> Iterator[tuple[str, str]]:
        """(kind, text) of what would fail on the board only: the line's rate, DMA behind the cache."""
        baud = self.baud()
        if baud and abs(baud - self.board.baud) > BAUD_TOLERANCE * self.board.baud:
            yield "baud", f"the USART runs at {baud} baud, the board file says {self.board.baud}"
        for number, stream in enumerate(self.mcu.streams):
            memory = next((m for m in self.board.ram if m.origin <= stream.m0ar < m.end), None)
            if stream.cr & 1 and memory and memory.cached and cacheable(stream.m0ar):
                yield (
                    "cache",
                    f"DMA stream {number} uses {stream.m0ar:#010x} in {memory.name}, which is cached",
                )

    def baud(self) -> int:
        """Bits per second of the USART as software set it up; 0 before that."""
        uart = self.mcu.uart
        return 10 * self.mcu.hz // uart.byte_cycles if uart.brr and uart.byte_cycles else 0
