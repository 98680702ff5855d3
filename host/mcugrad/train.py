"""The loop: judge the held-out samples, train epoch by epoch, judge again; every step is recorded."""

from __future__ import annotations

import math
import random
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, pairwise
from typing import Any

from mcugrad.config import TrainSection
from mcugrad.divergence import Divergence
from mcugrad.errors import DivergedError, MismatchError
from mcugrad.link.line import Health, PortLostError
from mcugrad.link.messages import Message
from mcugrad.link.session import BoardResetError, Session, rounded_cycles
from mcugrad.sources import Split
from mcugrad.sources.image import codes
from mcugrad.telemetry import Telemetry

Event = dict[str, Any]
Tell = Callable[[Event], None]

_RESETS = 5  # a board that resets more often has a fault that restoring its state does not mend
_SMOOTH = 0.95


@dataclass(frozen=True)
class Outcome:
    """What a finished run leaves: accuracies are shares of the held-out samples."""

    state: bytes
    before: float
    after: float


class Trainer:
    """Runs one training job; goes on from the last checkpoint that `log` holds, if any."""

    def __init__(
        self, session: Session, split: Split, plan: TrainSection, seed: int, log: Telemetry, tell: Tell
    ) -> None:
        self._session, self._split, self._plan, self._seed = session, split, plan, seed
        self._log, self._tell = log, tell
        self.total = plan.epochs * len(split.train)
        self.step = 0
        self._running = Running()

    def run(self) -> Outcome:
        """Train to the end. After an error, what was trained up to the last checkpoint is in the log."""
        if self._log.last_checkpoint() is None:
            self._start()
        for resets in count():
            try:
                self._restore()
                return self._go()
            except (BoardResetError, PortLostError) as lost:
                if resets == _RESETS:
                    raise
                kind = "unplugged" if isinstance(lost, PortLostError) else "reset"
                self._tell({"event": kind, "step": self.step})
                self._session.recover(lost)
        raise AssertionError

    def save(self) -> None:
        """Keep a copy of the board's state as it is now; none where the last step is not recorded."""
        state = self._session.read_state()
        if self._session.hello()["applied"] == self.step:
            self._log.checkpoint(self.step, state)
            self._tell({"event": "checkpoint", "step": self.step})

    def _start(self) -> None:
        self._session.fresh()
        self.save()

    def _restore(self) -> None:
        """Go to the last checkpoint, and put it on the board unless it is there."""
        checkpoint, welcome = self._log.last_checkpoint(), self._session.welcome
        assert checkpoint
        if (welcome["applied"], welcome["weights_crc"]) != (checkpoint.step, zlib.crc32(checkpoint.state)):
            self._session.write_state(checkpoint.state, checkpoint.step)
        self.step = checkpoint.step
        self._running = Running.of(row for row in self._log.table("steps") if row["step"] <= self.step)

    def _go(self) -> Outcome:
        self._evaluate_if_due()
        watch = self._watch()
        while self.step < self.total:
            self._train_one(watch)
            if self.step == self.total:
                self._log.nodes(costs(self._session, self._log.run["manifest"]))
            if self.step % self._plan.checkpoint == 0 or self._at_boundary():
                self.save()
            self._evaluate_if_due()
        evals = self._log.table("evals")
        checkpoint = self._log.last_checkpoint()
        assert checkpoint
        return Outcome(checkpoint.state, evals[0]["accuracy"], evals[-1]["accuracy"])

    def _watch(self) -> Divergence:
        """What the steps up to here say of divergence."""
        watch = Divergence(len(self._split.classes), self._log.table("evals")[0]["loss"])
        for row in self._log.table("steps"):
            if row["step"] <= self.step:
                watch.at(row["loss"])
        return watch

    def _at_boundary(self) -> bool:
        return self.step % len(self._split.train) == 0

    def _train_one(self, watch: Divergence) -> None:
        step, samples = self.step + 1, self._split.train
        epoch, place = divmod(step - 1, len(samples))
        index = order(self._seed, epoch, len(samples))[place]
        pixels, label = samples.varied(index, epoch), int(samples.labels[index])
        lr = rate(step, self.total, self._plan)
        self._tell({"event": "sample", "step": step, "pixels": pixels, "label": label})
        began = time.monotonic()
        try:
            result = self._session.train(step, codes(pixels).tobytes(), label, lr)
        except DivergedError as error:
            raise self._diverged(step, lr, error.what) from None
        latency = time.monotonic() - began
        self.step = step
        self._record(
            result, {"epoch": epoch, "sample": index, "label": label, "lr": lr, "latency_s": latency}
        )
        if watch.at(result["loss"]):
            raise self._diverged(step, lr, str(watch))

    def _diverged(self, step: int, lr: float, what: str) -> DivergedError:
        where = f"step {step} of {self.total}, at learning rate {lr:.3g} (--lr {self._plan.lr:g})"
        fix = f"start again with a lower rate, as --lr {self._plan.lr / 10:.2g}"
        return DivergedError(f"training diverged: {what}", where, fix)

    def _record(self, result: Message, row: Event) -> None:
        self._check_memory(result)
        health = self._session.health
        row |= {**result.fields, "time": time.time(), "board_crc_errors": result["crc_errors"]}
        row |= {"host_crc_errors": health.crc_errors, "resyncs": health.resyncs, "retries": health.retries}
        names = ("bytes_sent", "bytes_received", "sample_bytes", "sample_seconds")
        row |= {name: getattr(health, name) for name in names}
        self._log.step(row)
        self._running.add(row)
        board = {"cpu_hz": self._session.welcome["cpu_hz"], "emulated": self._session.emulated}
        self._tell(self._running.event(row, self.total) | _speed(health, self._session.baud) | board)

    def _check_memory(self, result: Message) -> None:
        """What the board reports at a step must be what its handshake, checked against the plan, said."""
        for name in ("static_bytes", "arena_bytes"):
            planned, found = self._session.welcome[name], result[name]
            if found != planned:
                what = f"{name} is {found} at step {result['step']}, {planned} in the plan"
                raise MismatchError(what, self._session.port, "rebuild and flash; if it stays, report it")

    def _evaluate_if_due(self) -> None:
        every = self._plan.evaluate
        due = self._at_boundary() or (every and self.step % every == 0)
        if not due or any(row["step"] == self.step for row in self._log.table("evals")):
            return
        results = []
        for done, (x, label) in enumerate(self._split.test):
            results.append((label, self._session.evaluate(x.tobytes(), label)))
            self._tell({"event": "evaluating", "done": done + 1, "total": len(self._split.test)})
        predicted = [r["predicted"] for _, r in results]
        accuracy = sum(label == r["predicted"] for label, r in results) / len(results)
        loss = math.fsum(r["loss"] for _, r in results) / len(results)
        self._log.evaluation(self.step, accuracy, loss, predicted)
        self._tell(
            {"event": "eval", "step": self.step, "accuracy": accuracy, "loss": loss, "samples": len(results)}
        )


class Running:
    """Smoothed loss and accuracy over the training steps so far."""

    def __init__(self) -> None:
        self._loss = self._weight = 0.0
        self._right = self._steps = 0

    @classmethod
    def of(cls, rows: Any) -> Running:
        new = cls()
        for row in rows:
            new.add(row)
        return new

    def add(self, row: Mapping[str, Any]) -> None:
        self._loss = _SMOOTH * self._loss + (1 - _SMOOTH) * row["loss"]
        self._weight = _SMOOTH * self._weight + (1 - _SMOOTH)
        self._right += row["label"] == row["predicted"]
        self._steps += 1

    def event(self, row: Mapping[str, Any], total: int) -> Event:
        """The step event: the row, and what it adds up to."""
        link = {k: row[k] for k in ("host_crc_errors", "board_crc_errors", "resyncs", "retries", "overruns")}
        names = (
            "step",
            "epoch",
            "label",
            "predicted",
            "loss",
            "lr",
            "latency_s",
            "cycles_forward",
            "cycles_total",
        )
        return {
            "event": "step",
            **{name: row[name] for name in names},
            "total": total,
            "smooth_loss": self._loss / self._weight,
            "accuracy": self._right / self._steps,
            "peak_sram": row["static_bytes"] + row["arena_bytes"],
            "stack_high": row["stack_high"],
            "saturated": row["saturated"],
            "link": link,
            "bytes_sent": row["bytes_sent"],
            "bytes_received": row["bytes_received"],
        }


def _speed(health: Health, baud: int) -> Event:
    """What samples travel at, and as a share of what the line could (ten bits a byte); None where unknown."""
    speed = health.sample_bytes / health.sample_seconds if health.sample_seconds else None
    return {"bytes_a_second": speed, "line_share": 10 * speed / baud if speed and baud else None}


def costs(session: Session, manifest: Mapping[str, Any]) -> list[Event]:
    """What each node of the last training step took; instructions where the board is emulated, else None."""
    marks = session.emulated_marks(manifest.get("feeds", 0))
    cycles = session.read_cycles()
    counted: list[int | None] = [None] * len(cycles)
    exact = _differences([m[1] for m in marks]) if marks else []
    if marks and [rounded_cycles(n) for n in exact] == cycles:
        cycles, counted = exact, [*_differences([m[0] for m in marks])]
    nodes = manifest.get("nodes") or [{}] * len(cycles)
    about = ("op", "layer", "phase", "shape", "macs")
    return [
        {"node": i, **{key: node.get(key) for key in about}, "cycles": c, "instructions": n}
        for i, (node, c, n) in enumerate(zip(nodes, cycles, counted, strict=True))
    ]


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, size: int) -> Sequence[int]:
    """The samples of one epoch in training order: the same for the same seed, also after a resume."""
    # Python's generator promises the same numbers for a text seed in every version.
    shuffled = list(range(size))
    random.Random(f"order/{seed}/{epoch}").shuffle(shuffled)
    return shuffled


def rate(step: int, total: int, plan: TrainSection) -> float:
    """Learning rate of step 1..total: a linear rise to plan.lr, then a cosine to plan.final * plan.lr."""
    warm = round(plan.warmup * total)
    if step <= warm:
        return plan.lr * step / warm
    share = (step - 1 - warm) / (total - warm)
    return plan.lr * (plan.final + (1 - plan.final) * (1 + math.cos(math.pi * share)) / 2)


def _differences(marks: list[int]) -> list[int]:
    return [(b - a) & 0xFFFF_FFFF for a, b in pairwise(marks)]
