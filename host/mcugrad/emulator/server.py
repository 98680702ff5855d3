"""The board's process: UART bytes on one descriptor, a JSON command a line on another; or a pty alone."""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import signal
import socket
import sys
import tty
from pathlib import Path
from typing import Any

from mcugrad import boards, paths
from mcugrad.emulator import image, tcp
from mcugrad.emulator.commands import Commands
from mcugrad.emulator.debug import Debugger
from mcugrad.emulator.gdb import GdbServer
from mcugrad.emulator.machine import Machine
from mcugrad.errors import UserError


class Server:
    """Runs a machine and answers its control channel between slices."""

    def __init__(self, machine: Machine, control: socket.socket | None, gdb: str = "") -> None:
        self.machine, self.commands, self.control, self.text = machine, Commands(machine), control, b""
        self.gdb = GdbServer(Debugger(machine), self.commands, *address(gdb)) if gdb else None

    def run(self) -> None:
        self.machine.boot()
        gdb = self.gdb.address if self.gdb else ""
        self._send({"ready": self.machine.board.id, "baud": self.machine.registers.baud(), "gdb": gdb})
        while not self.machine.mcu.closed:
            if self.machine.halted:
                self._sleep()
            self.machine.run()
            self._serve()
            if self.gdb:
                self.gdb.serve()

    def _sleep(self) -> None:
        """Halted by a debugger: until it or the host's control channel has something to say."""
        select.select([s for s in (self.control, self.gdb and self.gdb.source) if s], [], [])

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
    parser.add_argument("--link", type=Path, help="a name for the pty that is the same each time")
    parser.add_argument("--tcp", metavar="HOST:PORT", help="serve a TCP port instead; port 0: any free one")
    parser.add_argument("--gdb", metavar="HOST:PORT", default="", help="a GDB server; port 0: any free one")
    parser.add_argument("--uart-fd", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--control-fd", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if [options.pty, bool(options.tcp), options.uart_fd >= 0].count(True) != 1:
        parser.error("--pty or --tcp is needed")
    return options


def open_pty(link: Path | None = None) -> tuple[int, str]:
    """(our end, name of the other end). The other end stays open here, or closing it once would hang up."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    if link is None:
        return ours, os.ttyname(theirs)
    link.unlink(missing_ok=True)
    link.symlink_to(os.ttyname(theirs))
    return ours, str(link)


def address(text: str) -> tuple[str, int]:
    """("127.0.0.1", 3333) of "127.0.0.1:3333", ":3333" or "3333"."""
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


def _line(options: argparse.Namespace) -> tuple[int, str]:
    """(our end, name of the port for others)."""
    if options.tcp:
        return tcp.serve(*address(options.tcp))
    return open_pty(options.link) if options.pty else (os.dup(options.uart_fd), "")


def _serve(options: argparse.Namespace, control: socket.socket | None) -> None:
    board = boards.load(options.board)
    elf = image.load(options.elf or paths.elf(board.id), board.id, board.flash.origin, board.flash.size)
    # Renumbered from the bottom: select takes none above 1023, and the host may have many open.
    uart, name = _line(options)
    machine = Machine(board, elf, uart, os.dup(control.fileno()) if control else -1)
    server = Server(machine, control, options.gdb)
    if server.gdb:
        print(f"GDB: target remote {server.gdb.address}", file=sys.stderr, flush=True)
    if name:
        print(name, flush=True)
    server.run()


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
