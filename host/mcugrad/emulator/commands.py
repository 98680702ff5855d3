"""Control commands: what the board's model tells its host beside the serial line."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mcugrad.emulator import native
from mcugrad.emulator.machine import Machine
from mcugrad.emulator.trace import Trace

LARGEST_READ = 1 << 20


class Commands:
    """Answers control commands: {"cmd": name, ...}; the answer holds "error" when that failed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        handler = getattr(self, f"do_{command.get('cmd')}", None)
        if handler is None:
            known = sorted(name[3:] for name in dir(self) if name.startswith("do_"))
            return {"error": f"unknown command {command.get('cmd')!r}, known: {', '.join(known)}"}
        try:
            return dict(handler(**{k: v for k, v in command.items() if k != "cmd"}))
        except (TypeError, ValueError) as error:
            return {"error": str(error)}

    def do_counters(self) -> dict[str, Any]:
        """Everything counted since power-on. `cycles` are an estimate that includes `idle_cycles`."""
        mcu, uart = self.machine.mcu, self.machine.mcu.uart
        return {
            "instructions": mcu.insns,
            "cycles": mcu.cycles,
            "cycles_are": "estimated",
            "idle_cycles": mcu.idle_cycles,
            "mispredicts": mcu.mispredicts,
            "cpu_hz": mcu.hz,
            "resets": self.machine.resets,
            "stack": {
                "top": self.machine.stack_top,
                "low": mcu.sp_low,
                "bytes": self.machine.stack_top - mcu.sp_low,
            },
            "ram": self.machine.memory.touched(),
            "calls": self._calls(),
            "uart": {
                "baud": self.machine.registers.baud(),
                **{k: getattr(uart, k) for k in ("received", "overruns", "dropped", "sent")},
            },
        }

    def _calls(self) -> list[dict[str, Any]]:
        names = {address & ~1: name for name, (address, _) in self.machine.image.symbols.items()}
        total, ring = self.machine.mcu.call_count, self.machine.mcu.calls
        last = (ring[i % native.CALLS] for i in range(max(0, total - native.CALLS), total))
        return [
            {
                "symbol": names.get(c.entry, hex(c.entry)),
                **{"at": c.at, "instructions": c.insns, "cycles": c.cycles},
            }
            for c in last
        ]

    def do_clock(self) -> dict[str, Any]:
        """Board time since power-on, idle time included, in seconds; whether a debugger has stopped it."""
        mcu = self.machine.mcu
        return {"seconds": mcu.cycles / mcu.hz, "halted": self.machine.halted}

    def do_marks(self, last: int = native.MARKS) -> dict[str, Any]:
        """(instructions, estimated cycles) at the last CYCCNT reads, oldest first, and who read."""
        total, ring = self.machine.mcu.mark_count, self.machine.mcu.marks
        some = [ring[i % native.MARKS] for i in range(max(0, total - min(last, native.MARKS)), total)]
        return {
            "total": total,
            "marks": [[m.insns, m.cycles] for m in some],
            "readers": [m.block for m in some],
        }

    def do_trace(self, spans: list[tuple[int, int, int]]) -> dict[str, Any]:
        """At the next marks keep RAM: [mark, address, bytes] each, marks counted from 0; `traced` has it."""
        self.machine.trace = Trace(spans)
        self.machine.mcu.tracing = 1
        return {}

    def do_traced(self) -> dict[str, Any]:
        """What was kept, as hex in the order asked, null where its mark has not come; how many came."""
        self.machine.mcu.tracing, trace = 0, self.machine.trace
        found = [data.hex() if data is not None else None for data in trace.found]
        return {"data": found, "marks": trace.marks}

    def do_watch(self, symbol: str) -> dict[str, Any]:
        """From now on `counters` has every completed call of a function, counted from entry to return."""
        address = self._address(symbol)
        for region in self.machine.mcu.regions:
            if region.blocks and 0 <= address - region.base < region.size:
                region.blocks[(address - region.base) // 2].flags |= native.BLOCK_ENTRY
        self.machine.mcu.call_count = 0
        return {"symbol": symbol, "address": address}

    def _address(self, symbol: str) -> int:
        if symbol not in self.machine.image.symbols:
            raise ValueError(f"{self.machine.image.path} has no symbol {symbol!r}")
        return self.machine.image.symbols[symbol][0] & ~1

    def do_symbol(self, name: str) -> dict[str, Any]:
        self._address(name)
        address, size = self.machine.image.symbols[name]
        return {"address": address, "size": size}

    def do_read_ram(self, addr: int, len: int) -> dict[str, Any]:
        """Bytes of any memory of the chip, as hex."""
        data = self.machine.memory.read(addr, len) if 0 <= len <= LARGEST_READ else None
        if data is None:
            raise ValueError(f"{len} bytes at {addr:#010x} are not one memory of {self.machine.board.id}")
        return {"data": data.hex()}

    def do_reset(self) -> dict[str, Any]:
        """The reset button: RAM keeps its content."""
        self.machine.reset("pin")
        self.machine.boot()
        return {"resets": self.machine.resets}

    def do_hang(self) -> dict[str, Any]:
        """The core executes nothing more; time passes at once to what ends that, the watchdog."""
        self.machine.hung = True
        return {"watchdog": self.machine.registers.watchdog.deadline != native.NEVER}

    def do_power_cycle(self) -> dict[str, Any]:
        """RAM back to paint, counters to zero."""
        self.machine.power_on()
        self.machine.boot()
        return {}

    def do_strict(self, on: bool = True) -> dict[str, Any]:
        """Look at every access: unaligned ones that the chip refuses go to `faults`. Several times slower."""
        self.machine.core.watch_memory(self.machine.hooks, on)
        return {"strict": on, "unaligned": self.machine.mcu.unaligned_count}

    def do_faults(self) -> dict[str, Any]:
        """Exceptions taken for faults, oldest first, and what a chip would not have forgiven, with counts."""
        machine = self.machine
        found = Counter(machine.reports)
        found.update(machine.registers.suspicions(machine.nvic.cacheable))
        reports = [{"kind": kind, "text": text, "count": n} for (kind, text), n in found.items()]
        return {
            "faults": list(machine.exceptions.faults),
            "reports": reports,
            "locked": machine.exceptions.locked,
        }

    def do_unmodelled(self) -> dict[str, Any]:
        """Registers that no model answers: (access, address, count)."""
        seen = self.machine.registers.unmodelled + self.machine.nvic.unmodelled
        return {"unmodelled": [[access, address, n] for (access, address), n in sorted(seen.items())]}
