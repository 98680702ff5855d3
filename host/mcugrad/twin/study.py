"""Accuracy of one training, simulated: a case in, accuracy after each epoch out, one JSON line a case.

`python -m mcugrad.twin.study --model mcunet-5fps --data flowers102 --scheme 99kb --out results.jsonl`
A case whose line is already in the file is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mcugrad import pipeline
from mcugrad.config import UPDATES, TrainSection, Update
from mcugrad.divergence import Divergence
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.sources import Samples, Split, open_source
from mcugrad.sources.image import codes
from mcugrad.train import order, rate
from mcugrad.twin.engine import GRADIENTS, Twin
from mcugrad.twin.front import cached, split

Tell = Callable[[str], None]
JUDGES = ("test", "validation")
TOGETHER = 16  # images judged at once: small enough for the cache


@dataclass(frozen=True)
class Case:
    """All that decides the figures. With batch 1, integer and QAS, a board trains to the same weights.

    judge "validation": every fifth training image is judged instead of trained on, to tune the rate by.
    """

    model: str = "digits-tiny"
    data: str = "paper-digits"
    scheme: str = "10kb"
    update: Update = "8.8"
    gradients: str = "integer"
    qas: bool = True
    epochs: int = 1
    lr: float = 0.02
    batch: int = 1
    seed: int = 0
    momentum: float = 0.0
    judge: str = "test"


@dataclass(frozen=True)
class Part:
    """Samples past the frozen front: inputs of the rest by name [N,...], labels [N]."""

    inputs: Mapping[str, Array]
    labels: Array

    def take(self, index: Array) -> tuple[dict[str, Array], Array]:
        return {name: data[index] for name, data in self.inputs.items()}, self.labels[index]


def training_graph(case: Case, classes: int) -> Graph:
    """The graph that the board would run."""
    forward = models.load(case.model, classes, case.seed)
    return pipeline.training_graph(forward, case.scheme, update=case.update, seed=case.seed)


def run(case: Case, device: str = "cpu", tell: Tell = lambda line: None) -> dict[str, Any]:
    """Train -> {case, accuracy: before and after each epoch, loss: mean of each epoch, diverged, seconds}.

    Divergence ends it, with the figures up to the epoch before.
    """
    began = time.monotonic()
    twin, train, test = prepared(case, device)
    front = time.monotonic() - began
    tell(f"{len(train.labels)} + {len(test.labels)} images, frozen front run in {front:.0f} s")
    before, loss_before = judge(twin, test)
    accuracy, losses = [before], list[float]()
    watch = Divergence(twin.graph.value(twin.graph.outputs["logits"]).size, loss_before)
    for epoch in range(case.epochs):
        loss = _epoch(twin, train, case, epoch, watch)
        if loss is None:
            break
        losses.append(loss)
        accuracy.append(judge(twin, test)[0])
        tell(f"epoch {epoch + 1}: loss {loss:.4f}, accuracy {accuracy[-1]:.4f}")
    figures = {"accuracy": accuracy, "loss": losses, "diverged": len(losses) < case.epochs}
    return {"case": asdict(case), **figures, "seconds": time.monotonic() - began, "seconds_front": front}


def prepared(case: Case, device: str = "cpu") -> tuple[Twin, Part, Part]:
    """The twin of what follows the frozen front, the part to train on, the part to judge by."""
    source = open_source(case.data, case.seed)
    graph = training_graph(case, len(source.classes))
    height, width, channels = graph.inputs[0].shape
    front, rest = split(graph)
    train, test = (
        Part(cached(front, codes(samples.pixels), device=device), samples.labels)
        for samples in _parts(source.split((height, width, channels)), case.judge)
    )
    return Twin(rest, device, case.gradients, case.qas, case.momentum), train, test


def judge(twin: Twin, part: Part) -> tuple[float, float]:
    """Share of the samples that are classified right, mean loss."""
    right, losses = 0, []
    for start in range(0, len(part.labels), TOGETHER):
        x, y = part.take(np.arange(start, min(start + TOGETHER, len(part.labels))))
        loss, predicted = twin.forward(x, y)
        losses.append(loss)
        right += int((predicted == y).sum())
    return right / len(part.labels), float(np.concatenate(losses).mean())


def main(arguments: list[str] | None = None) -> int:
    """Run the case of the arguments unless its line is there; returns the exit code."""
    flags = _parser().parse_args(arguments)
    case = Case(**{f.name: getattr(flags, f.name) for f in fields(Case)})
    if asdict(case) in known(flags.out):
        _say(f"already in {flags.out}")
        return 0
    if flags.threads:
        torch.set_num_threads(flags.threads)
    try:
        result = run(case, flags.device, _say)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    append(flags.out, result)
    return 0


def append(path: Path, result: Mapping[str, Any]) -> None:
    """One more line, after the end of one that a kill cut off."""
    torn = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a") as file:
        file.write("\n" * torn + json.dumps(result) + "\n")


def known(path: Path) -> list[dict[str, Any]]:
    """Cases whose lines a results file holds; a line that a kill cut off does not count."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line)["case"])
        except json.JSONDecodeError:
            continue
    return found


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parts(images: Split, judge: str) -> tuple[Samples, Samples]:
    if judge == "test":
        return images.train, images.test
    whole = images.train
    fifth = np.arange(len(whole)) % 5 == 4
    train, test = (Samples(whole.pixels[part], whole.labels[part]) for part in (~fifth, fifth))
    return train, test


def _epoch(twin: Twin, part: Part, case: Case, epoch: int, watch: Divergence) -> float | None:
    """Mean loss; None as soon as training has diverged."""
    count, plan = len(part.labels), TrainSection(epochs=case.epochs, lr=case.lr)
    steps = math.ceil(count / case.batch)
    shuffled, losses = np.array(order(case.seed, epoch, count)), []
    for step in range(steps):
        x, y = part.take(shuffled[step * case.batch : (step + 1) * case.batch])
        losses.append(twin.step(x, y, rate(epoch * steps + step + 1, case.epochs * steps, plan))[0])
        if watch.at(float(losses[-1].mean())):
            return None
    return float(np.concatenate(losses).mean())


def _parser() -> argparse.ArgumentParser:
    parser, default = argparse.ArgumentParser("mcugrad.twin.study", description=__doc__), Case()
    for name in ("model", "data", "scheme"):
        parser.add_argument(f"--{name}", default=getattr(default, name))
    parser.add_argument("--update", choices=UPDATES, default=default.update, help="how weights move")
    parser.add_argument("--gradients", choices=GRADIENTS, default=default.gradients)
    parser.add_argument("--no-qas", dest="qas", action="store_false", help="no quantisation-aware scaling")
    for name in ("epochs", "batch"):
        parser.add_argument(f"--{name}", type=_positive(int), default=getattr(default, name))
    parser.add_argument("--lr", type=_positive(float), default=default.lr, help="highest learning rate")
    parser.add_argument("--momentum", type=_share, default=default.momentum, help="0 to below 1")
    parser.add_argument("--seed", type=int, default=default.seed, help="of head, order and random rounding")
    parser.add_argument("--judge", choices=JUDGES, default=default.judge, help="by which images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch on the CPU; 0: all cores")
    parser.add_argument("--out", type=Path, default=Path("results.jsonl"))
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to below 1")
    return value


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
