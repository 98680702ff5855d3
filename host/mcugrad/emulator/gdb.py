"""GDB's remote serial protocol over TCP, one client after another: `target remote :3333`."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable
from typing import Any

from mcugrad.emulator.commands import Commands
from mcugrad.emulator.debug import PERIPHERALS, WORDS, Debugger
from mcugrad.emulator.native import REGION_WRITE
from mcugrad.emulator.rsp import INTERRUPT, Packets, escaped, memory_xml, target_xml, unescaped, words_of
from mcugrad.errors import UserError

TRAP, BREAK = "S05", "S02"
PACKET = 4096
SUPPORTED = "QStartNoAckMode+;vContSupported+;qXfer:features:read+;qXfer:memory-map:read+"


class GdbServer:
    """Serves one client at a time, between slices of the machine; a client that comes halts the machine."""

    def __init__(self, debugger: Debugger, commands: Commands, host: str, port: int) -> None:
        self.debugger, self.commands, self.machine = debugger, commands, debugger.machine
        try:
            self.listener = socket.create_server((host, port))
        except OSError as error:
            what = f"the GDB server cannot listen: {error.strerror}"
            raise UserError(what, f"{host}:{port}", "another port, 0 for any free one") from None
        self.client: Packets | None = None
        self.running = False
        self._watch(self.listener)
        self.handlers: dict[bytes, Callable[[bytes], str | bytes | None]] = {
            **{b"c": self._continue, b"s": self._step, b"v": self._v_packet},
            **{b"D": self._detach, b"k": self._kill, b"Z": self._insert, b"z": self._remove},
            **{b"g": self._read_all, b"G": self._write_all, b"p": self._read_one, b"P": self._write_one},
            **{b"m": self._read_memory, b"M": self._write_hex, b"X": self._write_binary},
            **{b"q": self._query, b"Q": self._set, b"H": lambda _: "OK", b"?": lambda _: TRAP},
        }

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"{host}:{port}"

    def _watch(self, source: socket.socket) -> None:
        self.source = source
        self.machine.mcu.uart.debug_fd = source.fileno()

    def serve(self) -> None:
        """Say that the machine has halted, if it has; answer what the client has sent."""
        if self.running and self.machine.halted:
            self._stopped(TRAP)
        while select.select([self.source], [], [], 0)[0]:
            try:
                self._listen()
            except OSError:
                self._leave()

    def _listen(self) -> None:
        if self.client is None:
            client = self.listener.accept()[0]
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.client, self.running = Packets(client), False
            self._watch(client)
            self.debugger.halt()
            return
        data = self.client.client.recv(1 << 16)
        for packet in self.client.take(data):
            self._answer(packet)
        if not data:
            self._leave()

    def _leave(self) -> None:
        """The client has gone: the board runs on without breakpoints."""
        if self.client:
            self.client.client.close()
        self.client, self.running = None, False
        self._watch(self.listener)
        self.debugger.release()

    def _stopped(self, why: str) -> None:
        self.running = False
        self._send(why)

    def _send(self, answer: str | bytes) -> None:
        if self.client:
            self.client.send(answer if isinstance(answer, bytes) else answer.encode())

    def _answer(self, packet: bytes) -> None:
        if packet == INTERRUPT:
            if self.running:
                self.debugger.halt()
                self._stopped(BREAK)
            return
        handler = self.handlers.get(packet[:1])
        try:
            answer = handler(packet[1:]) if handler else ""
        except (ValueError, IndexError):
            answer = "E01"
        if answer is not None:
            self._send(answer)

    # running

    def _continue(self, _rest: bytes) -> None:
        self.debugger.resume()
        self.running = True

    def _step(self, _rest: bytes) -> str:
        self.debugger.step()
        return TRAP

    def _v_packet(self, rest: bytes) -> str | None:
        if rest == b"Cont?":
            return "vCont;c;C;s;S;r"
        if not rest.startswith(b"Cont;"):
            return ""
        action = rest[5:].split(b";")[0].split(b":")[0]
        if action[:1] in b"cC":
            self._continue(action)
            return None
        if action[:1] in b"sS":
            return self._step(action)
        first, end = (int(word, 16) for word in action[1:].split(b","))
        self.debugger.step_range(first, end, lambda: bool(select.select([self.source], [], [], 0)[0]))
        return TRAP

    def _detach(self, _rest: bytes) -> None:
        self._send("OK")
        self._leave()

    def _kill(self, _rest: bytes) -> None:
        self._leave()

    # breakpoints, software ones like hardware ones: nothing is patched

    def _insert(self, rest: bytes) -> str:
        return self._break(rest, self.debugger.breakpoints.add)

    def _remove(self, rest: bytes) -> str:
        return self._break(rest, self.debugger.breakpoints.discard)

    def _break(self, rest: bytes, change: Callable[[int], Any]) -> str:
        kind, addr, _size = rest.split(b";")[0].split(b",")
        if kind not in (b"0", b"1"):
            return ""
        change(int(addr, 16) & ~1)
        return "OK"

    # registers and memory

    def _read_all(self, _rest: bytes) -> str:
        return self._words(range(len(WORDS)))

    def _write_all(self, rest: bytes) -> str:
        return self._store(range(len(WORDS)), rest)

    def _read_one(self, rest: bytes) -> str:
        return self._words(words_of(int(rest, 16)))

    def _write_one(self, rest: bytes) -> str:
        register, value = rest.split(b"=")
        return self._store(words_of(int(register, 16)), value)

    def _words(self, which: range) -> str:
        return b"".join(self.debugger.read_word(i).to_bytes(4, "little") for i in which).hex()

    def _store(self, which: range, text: bytes) -> str:
        data = bytes.fromhex(text.decode())
        for at, i in enumerate(which):
            self.debugger.write_word(i, int.from_bytes(data[4 * at : 4 * at + 4], "little"))
        return "OK"

    def _read_memory(self, rest: bytes) -> str:
        addr, size = (int(word, 16) for word in rest.split(b","))
        data = self.debugger.read(addr, size)
        return "E0e" if data is None else data.hex()

    def _write_hex(self, rest: bytes) -> str:
        place, text = rest.split(b":", 1)
        return self._write(place, bytes.fromhex(text.decode()))

    def _write_binary(self, rest: bytes) -> str:
        place, data = rest.split(b":", 1)
        return self._write(place, unescaped(data))

    def _write(self, place: bytes, data: bytes) -> str:
        addr, size = (int(word, 16) for word in place.split(b","))
        return "OK" if size == 0 or self.debugger.write(addr, data[:size]) else "E0e"

    # queries

    def _set(self, rest: bytes) -> str:
        if rest != b"StartNoAckMode" or self.client is None:
            return ""
        self.client.acknowledge = False
        return "OK"

    def _query(self, rest: bytes) -> str | bytes:
        name, _, words = rest.partition(b":")
        if name == b"Supported":
            return f"PacketSize={PACKET:x};{SUPPORTED}"
        if name == b"Attached":
            return "1"
        if name == b"Xfer":
            return self._transfer(words)
        if rest.startswith(b"Rcmd,"):
            return self._monitor(bytes.fromhex(rest[5:].decode()).decode()).encode().hex()
        return ""

    def _transfer(self, words: bytes) -> bytes:
        what, _, _, span = words.split(b":")
        text = {b"features": target_xml, b"memory-map": self._memory_map}[what]().encode()
        start, size = (int(word, 16) for word in span.split(b","))
        return (b"m" if start + size < len(text) else b"l") + escaped(text[start : start + size])

    def _memory_map(self) -> str:
        memories = [(b.origin, b.size, bool(b.flags & REGION_WRITE)) for b in self.machine.memory.buffers]
        return memory_xml([*memories, *((base, extent, True) for base, extent in PERIPHERALS)])

    def _monitor(self, line: str) -> str:
        """`reset` halts at the first instruction; else a control command that takes no arguments."""
        command = line.split()[0] if line.split() else ""
        if command == "reset":
            self.debugger.reset()
            return "reset, halted\n"
        if command in ("init", "halt"):
            return "halted\n"
        return json.dumps(self.commands.answer({"cmd": command}), indent=1) + "\n"
