"""The board's process: UART bytes on one descriptor, a JSON command a line on another; or a pty alone."""

from __future__ import annotations

import argparse
import json
import os
import pty
import signal
import socket
import sys
import tty
from collections import Counter
from pathlib import Path
from typing import Any

from mcugrad import boards, paths
from mcugrad.emulator import image, native
from mcugrad.emulator.machine import Machine
from mcugrad.errors import UserError

LARGEST_READ = 1 << 20
WATCHES = 16


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
            {"symbol": names.get(c.entry, hex(c.entry)), "instructions": c.insns, "cycles": c.cycles}
            for c in last
        ]

    def do_marks(self, last: int = native.MARKS) -> dict[str, Any]:
        """(instructions, estimated cycles) at the last CYCCNT reads, oldest first, and who read."""
        total, ring = self.machine.mcu.mark_count, self.machine.mcu.marks
        some = [ring[i % native.MARKS] for i in range(max(0, total - min(last, native.MARKS)), total)]
        return {
            "total": total,
            "marks": [[m.insns, m.cycles] for m in some],
            "readers": [m.block for m in some],
        }

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
            "faults": machine.exceptions.faults,
            "reports": reports,
            "locked": machine.exceptions.locked,
        }

    def do_unmodelled(self) -> dict[str, Any]:
        """Registers that no model answers: (access, address, count)."""
        seen = self.machine.registers.unmodelled + self.machine.nvic.unmodelled
        return {"unmodelled": [[access, address, n] for (access, address), n in sorted(seen.items())]}


class Server:
    """Runs a machine and answers its control channel between slices."""

    def __init__(self, machine: Machine, control: socket.socket | None) -> None:
        self.machine, self.commands, self.control, self.text = machine, Commands(machine), control, b""

    def run(self) -> None:
        self.machine.boot()
        self._send({"ready": self.machine.board.id, "baud": self.machine.registers.baud()})
        while not self.machine.mcu.closed:
            self.machine.run()
            self._serve()

    def _serve(self) -> None:
        if self.control is None:
            return
        try:
            got = self.control.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not got:
            self.machine.mcu.closed = 1
        *lines, self.text = (self.text + got).split(b"\n")
        for line in lines:
            self._send(self.commands.answer(json.loads(line)))

    def _send(self, message: dict[str, Any]) -> None:
        if self.control:
            self.control.sendall(json.dumps(message).encode() + b"\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mcugrad.emulator", description=__doc__)
    parser.add_argument("--board", default="nucleo_f746zg", help="a board id of boards/")
    parser.add_argument("--elf", type=Path, help="firmware image; default: what scons built for the board")
    parser.add_argument(
        "--pty", action="store_true", help="print the name of a pty and serve it until killed"
    )
    parser.add_argument("--uart-fd", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--control-fd", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pty == (options.uart_fd >= 0):
        parser.error("--pty is needed")
    return options


def open_pty() -> tuple[int, str]:
    """(our end, name of the other end). The other end stays open here, or closing it once would hang up."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    return ours, os.ttyname(theirs)


def _serve(options: argparse.Namespace, control: socket.socket | None) -> None:
    board = boards.load(options.board)
    elf = image.load(options.elf or paths.elf(board.id), board.id, board.flash.origin, board.flash.size)
    uart, name = open_pty() if options.pty else (options.uart_fd, "")
    machine = Machine(board, elf, uart, options.control_fd)
    if name:
        print(name, flush=True)
    Server(machine, control).run()


def main() -> int:
    """Serve until the host side goes away."""
    options = _arguments()
    control = None
    if options.control_fd >= 0:
        control = socket.socket(fileno=options.control_fd)
        os.set_blocking(options.uart_fd, False)
    # The host's Ctrl-C is the host's to handle; alone, Python would not see it while native code waits.
    signal.signal(signal.SIGINT, signal.SIG_IGN if control else signal.SIG_DFL)
    try:
        _serve(options, control)
    except UserError as error:
        if control is None:
            print(f"error: {error}", file=sys.stderr)
        else:
            control.sendall(json.dumps({"error": [error.what, error.where, error.fix]}).encode() + b"\n")
        return error.exit_code
    except (BrokenPipeError, ConnectionResetError):
        pass
    return 0
