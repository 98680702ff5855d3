"""emu://<board>?elf=PATH&gdb=PORT as a pyserial port: the board, a process that ends with this one."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import select
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from serial import SerialBase, SerialException, SerialTimeoutException

from mcugrad import boards, paths
from mcugrad.errors import UsageError, UserError

START_SECONDS = 30.0
ANSWER_SECONDS = 60.0


def parse(url: str) -> tuple[str, Path, str]:
    """Board, its image (default: what scons built), and the port of its GDB server ("" for none)."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if parts.scheme != "emu" or not parts.netloc or set(query) - {"elf", "gdb"}:
        fix = "emu://<board>, emu://<board>?elf=PATH or emu://<board>?gdb=3333"
        raise UsageError("not the port of an emulated board", url, fix)
    board = boards.load(parts.netloc).id
    elf = Path(query["elf"][0]) if "elf" in query else paths.elf(board)
    return board, elf, query.get("gdb", [""])[0]


def _check(board: str, elf: Path) -> None:
    if importlib.util.find_spec("unicorn") is None:
        raise UserError(
            "the emulated board needs Unicorn", "import unicorn", "pip install 'mcugrad[emulator]'"
        )
    if not elf.is_file():
        raise UserError("no firmware image for the emulated board", str(elf), f"scons BOARD={board}")


class Serial(SerialBase):  # type: ignore[misc]
    """A port whose other side is an emulated board; `control` asks the model, not the firmware.

    `gdb`: host:port of its GDB server, "" without one.
    """

    BAUDRATES = (921600,)
    is_open: bool

    def open(self) -> None:
        if self.is_open:
            raise SerialException("Port is already open.")
        board, elf, gdb = parse(self.portstr)
        _check(board, elf)
        self._text, self._turn = b"", threading.Lock()
        self._uart, theirs = socket.socketpair()
        self._control, commands = socket.socketpair()
        options = [f"--board={board}", f"--elf={elf}", *([f"--gdb={gdb}"] if gdb else [])]
        self._child = self._start(options, theirs, commands)
        theirs.close()
        commands.close()
        self._uart.setblocking(False)
        self.is_open = True
        self._await_ready()

    def _start(
        self, options: list[str], uart: socket.socket, control: socket.socket
    ) -> subprocess.Popen[bytes]:
        descriptors = [f"--uart-fd={uart.fileno()}", f"--control-fd={control.fileno()}"]
        command = [sys.executable, "-m", "mcugrad.emulator", *options, *descriptors]
        path = os.pathsep.join(filter(None, (str(paths.PACKAGE.parent), os.environ.get("PYTHONPATH", ""))))
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(uart.fileno(), control.fileno()),
            env={**os.environ, "PYTHONPATH": path},
        )

    def _await_ready(self) -> None:
        try:
            hello = self._answer(START_SECONDS)
        except SerialException:
            self.close()
            raise
        if "error" in hello:
            self.close()
            raise UserError(*hello["error"])
        self.gdb = hello.get("gdb", "")

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._uart.close()
        self._control.close()
        self._child.kill()
        self._child.wait()

    def control(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send one command to the board's model, from any thread; ValueError when it refuses."""
        try:
            with self._turn:
                self._control.sendall(json.dumps(command).encode() + b"\n")
                answer = self._answer(ANSWER_SECONDS)
        except (BrokenPipeError, ConnectionResetError):
            raise self._stopped() from None
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def _answer(self, seconds: float) -> dict[str, Any]:
        self._control.settimeout(seconds)
        try:
            while b"\n" not in self._text:
                got = self._control.recv(1 << 20)
                if not got:
                    raise self._stopped()
                self._text += got
        except TimeoutError:
            raise SerialException(f"the emulated board did not answer in {seconds} s") from None
        line, self._text = self._text.split(b"\n", 1)
        return dict(json.loads(line))

    def _stopped(self) -> SerialException:
        return SerialException(f"the emulated board stopped: exit code {self._child.wait()}")

    # the serial side

    def read(self, size: int = 1) -> bytes:
        self._need_open()
        data = bytearray()
        end = None if self._timeout is None else time.monotonic() + self._timeout
        while len(data) < size:
            try:
                got = self._uart.recv(size - len(data))
            except BlockingIOError:
                if not self._wait(end, reading=True):
                    break
                continue
            except ConnectionResetError:
                got = b""
            if not got:
                raise self._stopped()
            data += got
        return bytes(data)

    def write(self, data: bytes) -> int:
        self._need_open()
        end = None if self._write_timeout is None else time.monotonic() + self._write_timeout
        left = memoryview(bytes(data))
        while left:
            try:
                left = left[self._uart.send(left) :]
            except BlockingIOError:
                if not self._wait(end, reading=False):
                    raise SerialTimeoutException("Write timeout") from None
            except OSError:
                raise self._stopped() from None
        return len(data)

    def _wait(self, end: float | None, *, reading: bool) -> bool:
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return False
        sides = ([self._uart], []) if reading else ([], [self._uart])
        return any(select.select(*sides, [], left))

    def _need_open(self) -> None:
        if not self.is_open:
            raise SerialException("Attempting to use a port that is not open")

    @property
    def in_waiting(self) -> int:
        self._need_open()
        waiting = fcntl.ioctl(self._uart.fileno(), termios.FIONREAD, struct.pack("I", 0))
        return int(struct.unpack("I", waiting)[0])

    def reset_input_buffer(self) -> None:
        self._need_open()
        with contextlib.suppress(BlockingIOError):
            while self._uart.recv(65536):
                pass

    def reset_output_buffer(self) -> None:
        self._need_open()

    def flush(self) -> None:
        self._need_open()

    def fileno(self) -> int:
        return self._uart.fileno()

    # lines that the board does not have

    def _reconfigure_port(self) -> None:
        pass

    def _update_rts_state(self) -> None:
        pass

    def _update_dtr_state(self) -> None:
        pass

    def _update_break_state(self) -> None:
        pass

    @property
    def cts(self) -> bool:
        return True

    @property
    def dsr(self) -> bool:
        return True

    @property
    def ri(self) -> bool:
        return False

    @property
    def cd(self) -> bool:
        return True
