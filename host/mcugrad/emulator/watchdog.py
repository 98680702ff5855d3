"""The independent watchdog: once started it resets the chip unless it is fed, whatever the core does."""

from __future__ import annotations

from mcugrad.emulator import native

LSI_HZ = 32_000
KEY, PRESCALER, RELOAD = 0, 4, 8
FEED, START = 0xAAAA, 0xCCCC


class Watchdog:
    """`deadline`: the cycle at which it bites."""

    def __init__(self, mcu: native.Mcu) -> None:
        self._mcu = mcu
        self.reset()

    def reset(self) -> None:
        """Off, until software starts it."""
        self.deadline, self._on = native.NEVER, False
        self._prescaler, self._reload = 0, 0xFFF

    def write(self, offset: int, value: int) -> None:
        if offset == PRESCALER:
            self._prescaler = value & 7
        elif offset == RELOAD:
            self._reload = value & 0xFFF
        elif offset == KEY and value in (FEED, START):
            self._on = self._on or value == START
            self._feed()

    def _feed(self) -> None:
        ticks = (self._reload + 1) * (4 << min(self._prescaler, 6))
        if self._on:
            self.deadline = self._mcu.cycles + ticks * self._mcu.hz // LSI_HZ
