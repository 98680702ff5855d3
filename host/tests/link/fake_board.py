"""A board that speaks the protocol as the firmware does and learns a softmax regression; and a port to it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import serial

from mcugrad.link.frame import Decoder, encode
from mcugrad.link.identity import Expected
from mcugrad.link.messages import ERRORS, MAX_PAYLOAD, VERSION, Message, pack, unpack
from tests.link.noise import Noise

STATIC, ARENA, STACK, CPU_HZ = 4000, 6000, 8192, 216_000_000
MARKS = np.array([0, 2047, 1 << 11 | 1023, 21 << 11 | 1024], "<u2")


class FakeBoard:
    """`applied_log` lists every training step that changed the state."""

    def __init__(
        self, inputs: int = 64, classes: int = 10, window: int = 4096, board: str = "nucleo_f746zg"
    ) -> None:
        self.inputs, self.classes, self.window, self.board = inputs, classes, window, board
        self.hash, self.name, self.proto = bytes(range(16)), "toy", VERSION
        self.boots, self.applied_log = 0, []
        self.diverge_at = self.fault_at = -1
        self.reset()

    def reset(self) -> None:
        self.boots += 1
        self.weights = np.zeros((self.classes, self.inputs), np.float32)
        self.applied, self.dirty, self.step, self.sample = 0, False, 0, bytearray()
        self.decoder, self.last, self.answer, self.faulted = Decoder(), None, None, False

    @property
    def expected(self) -> Expected:
        state = self.weights.nbytes
        return Expected(self.board, self.name, self.hash.hex(), self.inputs, state, ARENA, STATIC)

    def take(self, data: bytes) -> list[bytes]:
        """Bytes from the host -> frames of answer."""
        answers = []
        for frame in self.decoder.feed(data):
            question = unpack(frame.type, frame.payload)
            answer = self._dispatch(question) if question else self._error("unknown", frame.type)
            seq = 0 if answer.name == "fault" else frame.seq
            type_, payload = pack(answer)
            answers.append(encode(type_, seq, payload))
        return answers

    def _dispatch(self, question: Message) -> Message:
        if self.faulted and question.name != "reset":
            return self._fault()
        handler: Callable[[Message], Message] = getattr(self, f"_on_{question.name}")
        return handler(question)

    def _on_hello(self, question: Message) -> Message:
        state = self.weights.tobytes()
        fields: dict[str, Any] = {
            "proto": self.proto, "board": self.board, "model_hash": self.hash, "model_name": self.name,
            "boot_id": self.boots, "reset_cause": 1, "cpu_hz": CPU_HZ, "input_bytes": self.inputs,
            "classes": self.classes, "nodes": 4, "state_bytes": len(state), "static_bytes": STATIC,
            "arena_bytes": ARENA, "stack_bytes": STACK, "window": self.window, "applied": self.applied,
            "weights_crc": zlib.crc32(state), "dirty": self.dirty,
        }  # fmt: skip
        return Message("welcome", fields)

    def _on_data(self, data: Message) -> Message:
        if data["offset"] + len(data.tail) > self.inputs:
            return self._error("bad_size", data["offset"] + len(data.tail), self.inputs)
        if data["step"] != self.step:
            self.step, self.sample = data["step"], bytearray()
        if data["offset"] == len(self.sample):
            self.sample += data.tail
        return Message("credit", {"step": self.step, "received": len(self.sample)})

    def _on_train(self, train: Message) -> Message:
        if self._repeated(train):
            return self.answer
        if refusal := self._refusal(train):
            return refusal
        x = np.frombuffer(bytes(self.sample), np.int8).astype(np.float32) / 128
        self.sample = bytearray()
        if train["step"] == self.fault_at:
            self.faulted = True
            return self._fault()
        if train["mode"] and train["step"] == self.diverge_at:
            return self._error("diverged", 0x7FC00000)
        self.last, self.answer = train, self._learn(train, x)
        return self.answer

    def _repeated(self, train: Message) -> bool:
        if (
            self.dirty
            or not self.last
            or train["mode"] != self.last["mode"]
            or train["step"] != self.last["step"]
        ):
            return False
        return bool(train["mode"]) or (not self.sample and train.fields == self.last.fields)

    def _refusal(self, train: Message) -> Message | None:
        if self.dirty:
            return self._error("dirty")
        if train["mode"] and train["step"] != self.applied + 1:
            return self._error("bad_step", train["step"], self.applied + 1)
        if train["label"] >= self.classes:
            return self._error("bad_label", train["label"], self.classes)
        if train["mode"] and not 0 <= train["lr"] < math.inf:
            return self._error("bad_lr")
        if train["step"] != self.step or len(self.sample) != self.inputs:
            return self._error("bad_size", len(self.sample), self.inputs)
        if (crc := zlib.crc32(self.sample)) != train["crc"]:
            self.sample = bytearray()
            return self._error("bad_crc", crc, train["crc"])
        return None

    def _learn(self, train: Message, x: np.ndarray) -> Message:
        logits = self.weights @ x
        p = np.exp(logits - logits.max())
        p /= p.sum()
        loss = -math.log(max(float(p[train["label"]]), 1e-30))
        if train["mode"]:
            p[train["label"]] -= 1
            self.weights -= np.float32(train["lr"]) * np.outer(p, x).astype(np.float32)
            self.applied = train["step"]
            self.applied_log.append(train["step"])
        fields = {
            "step": train["step"], "mode": train["mode"], "predicted": int(np.argmax(logits)), "loss": loss,
            "cycles_forward": 50_000, "cycles_total": 120_000 if train["mode"] else 50_000, "stack_high": 900,
            "static_bytes": STATIC, "arena_bytes": ARENA, "saturated": 0, "overruns": 0,
            "crc_errors": self.decoder.crc_errors, "applied": self.applied, "boot_id": self.boots,
        }  # fmt: skip
        return Message("result", fields)

    def _on_read(self, read: Message) -> Message:
        data = self.weights.tobytes() if read["object"] == 0 else MARKS.tobytes()
        length = min(read["length"], MAX_PAYLOAD - 5)
        part = data[read["offset"] : read["offset"] + length]
        return Message("chunk", {"object": read["object"], "offset": read["offset"]}, part)

    def _on_write(self, write: Message) -> Message:
        state = bytearray(self.weights.tobytes())
        if write["offset"] + len(write.tail) > len(state):
            return self._error("bad_size", write["offset"], len(state))
        state[write["offset"] : write["offset"] + len(write.tail)] = write.tail
        self.weights = np.frombuffer(bytes(state), np.float32).reshape(self.weights.shape).copy()
        self.dirty = True
        return Message("ack", {"object": 0, "offset": write["offset"]})

    def _on_commit(self, commit: Message) -> Message:
        crc = zlib.crc32(self.weights.tobytes())
        if crc != commit["crc"]:
            return self._error("bad_crc", crc, commit["crc"])
        self.dirty, self.applied, self.last = False, commit["applied"], None
        return Message("ack", {"object": 0, "offset": 0})

    def _on_reset(self, question: Message) -> Message:
        self.reset()
        return Message("ack", {"object": 0, "offset": 0})

    def _error(self, code: str, detail: int = 0, expected: int = 0) -> Message:
        return Message("error", {"code": ERRORS[code], "detail": detail, "expected": expected})

    def _fault(self) -> Message:
        registers = {
            "pc": 0x0800_1234,
            "lr": 0x0800_0101,
            "sp": 0x2000_0040,
            "cfsr": 0x82,
            "hfsr": 0x4000_0000,
        }
        return Message("fault", {**registers, "bfar": 0, "mmfar": 0x2000_0010})


class FakePort:
    """The part of pyserial's Serial that the link uses, wired to a FakeBoard without a thread."""

    def __init__(self, board: FakeBoard, noise: Noise | None = None) -> None:
        self.board, self.noise = board, noise or Noise()
        self.unplugged = self.closed = False
        self.on_write: Callable[[], None] = lambda: None
        self._inbox = bytearray()

    @property
    def in_waiting(self) -> int:
        return len(self._inbox)

    def write(self, data: bytes) -> int:
        self.on_write()
        if self.unplugged:
            raise serial.SerialException("device disconnected")
        for answer in self.board.take(self.noise(data)):
            self._inbox += self.noise(answer)
        return len(data)

    def read(self, size: int) -> bytes:
        if self.unplugged:
            raise serial.SerialException("device disconnected")
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        return data

    def close(self) -> None:
        self.closed = True
