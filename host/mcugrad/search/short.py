"""Short trainings of many schemes of one model on one dataset; the frozen front is run once for all."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from mcugrad import pipeline
from mcugrad.config import TrainSection
from mcugrad.divergence import Divergence
from mcugrad.frontend import models
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.passes.schemes import Scheme, convolutions, scheme_for
from mcugrad.search.gains import Training
from mcugrad.sources import Samples, open_source
from mcugrad.study.images import Part, past_front, validating
from mcugrad.train import order, rate
from mcugrad.twin import Twin
from mcugrad.twin.batches import cached, judged
from mcugrad.twin.front import split


class Short:
    """Trains schemes whose first trained layer is convolution `first` or a later one."""

    def __init__(self, training: Training, first: int) -> None:
        self.training = training
        source = open_source(training.data)
        self._classes = len(source.classes)
        forward = self._forward(0)
        height, width, channels = forward.inputs[0].shape
        images = source.split((height, width, channels))
        front, _ = split(pipeline.uncalibrated(forward, _from(forward, first)))
        self._train = past_front(front, images.train.some(training.samples, 0), False)
        self._test: Samples | Part = images.test
        self._front = front
        self._between: tuple[tuple[str, ...], dict[str, Part]] = ((), {})

    def run(self, scheme: str, lr: float, seed: int, judge: str = "validation") -> dict[str, Any]:
        """Train -> accuracy, mean loss in nats and whether it diverged, on images that it did not train on.

        judge: "validation", a fifth of the training images, or "test", the dataset's own.
        """
        began = time.monotonic()
        forward = self._forward(seed)
        make = pipeline.uncalibrated if self.training.gradients == "fp32" else pipeline.training_graph
        front, rest = split(make(forward, scheme))
        train, held_out = self._parts(front, judge)
        twin = Twin(rest, gradients=self.training.gradients)
        diverged = self._fit(twin, train, lr, seed, Divergence(self._classes, _judged(twin, held_out)[1]))
        accuracy, loss = _judged(twin, held_out)
        figures = {"accuracy": accuracy, "loss": loss if math.isfinite(loss) else None}
        seconds = round(time.monotonic() - began, 1)
        return {**figures, "diverged": diverged or not math.isfinite(loss), "seconds": seconds}

    def _forward(self, seed: int) -> Graph:
        return models.load(self.training.model, self._classes, seed)

    def _fit(self, twin: Twin, part: Part, lr: float, seed: int, watch: Divergence) -> bool:
        """Whether it diverged; it stops there."""
        epochs, batch, count = self.training.epochs, self.training.batch, len(part.labels)
        steps, plan = math.ceil(count / batch), TrainSection(epochs=epochs, lr=lr)
        for step in range(epochs * steps):
            epoch, place = divmod(step, steps)
            chosen = np.array(order(seed, epoch, count)[place * batch : (place + 1) * batch])
            losses, _ = twin.step(*part.take(chosen), rate(step + 1, epochs * steps, plan))
            if watch.at(float(losses.mean())):
                return True
        return False

    def _parts(self, front: Graph, judge: str) -> tuple[Part, Part]:
        """Samples past a scheme's own front, which goes further than the common one; the last is kept."""
        if self._between[0] != tuple(front.outputs):
            self._between = (tuple(front.outputs), {})
        parts = self._between[1]
        beyond = _pruned(front, self._train.inputs)
        parts.setdefault("train", _beyond(beyond, self._train))
        if judge == "test":
            return parts["train"], parts.setdefault("test", _beyond(beyond, self._tests()))
        held_out = validating(len(parts["train"]))
        return _part(parts["train"], ~held_out), _part(parts["train"], held_out)

    def _tests(self) -> Part:
        if isinstance(self._test, Samples):
            self._test = past_front(self._front, self._test, False)
        return self._test


def earliest(forward: Graph, schemes: list[str]) -> int:
    """The first convolution that any of the schemes trains; the last one where only heads train."""
    count = len(convolutions(forward))
    parsed = [scheme_for(forward, text) for text in schemes]
    return min([count - 1, *(min([count - s.biases, *s.weights]) for s in parsed)])


def limit(threads: int) -> None:
    """Cores that torch takes; 0: all."""
    if threads:
        torch.set_num_threads(threads)


def _from(forward: Graph, first: int) -> str:
    return str(Scheme(len(convolutions(forward)) - first, {first: Fraction(1)}))


def _pruned(front: Graph, have: Mapping[str, Array]) -> Graph:
    """What is left to run of a front when some of its values are known."""
    needed, nodes = set(front.outputs) - set(have), []
    for node in reversed(front.nodes):
        if needed & set(node.outs):
            nodes.append(node)
            needed |= set(node.ins) - set(have)
    inputs = tuple(front.value(name) for name in have)
    return replace(front, inputs=inputs, nodes=tuple(reversed(nodes)))


def _beyond(graph: Graph, part: Part) -> Part:
    return Part(cached(graph, part.inputs), part.labels)


def _part(part: Part, mask: Array) -> Part:
    inputs, labels = part.take(np.flatnonzero(mask))
    return Part(inputs, labels)


def _judged(twin: Twin, part: Part) -> tuple[float, float]:
    """Accuracy and mean loss."""
    losses, predicted = judged(twin, part.inputs, part.labels)
    return float((predicted == part.labels).mean()), float(losses.mean(dtype=np.float64))
