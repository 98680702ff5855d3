"""Training from what crosses the frozen front is the same training, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards
from mcugrad.frontend import models
from mcugrad.hostmodel import HostModel, Result
from mcugrad.ir.graph import Array
from mcugrad.pipeline import Compiled, compile_model
from tests.codegen.test_equality import F746, host_model, images
from tests.networks import sample, small

SCHEMES = ["full", "head-only", "bias-only", "last-4", "3 8:1/2", "0 5:1/2 4:1/3"]


def bits(result: Result) -> tuple[bytes, int]:
    return np.float32(result.loss).tobytes(), result.predicted


def twice(compiled: Compiled, folder: Path) -> tuple[HostModel, HostModel]:
    """Two models of one generated folder under one name, each with its own state."""
    return host_model(compiled, folder), host_model(compiled, folder)


def assert_same_training(
    compiled: Compiled, folder: Path, steps: int, lr: float, x: Callable[[int], Array]
) -> None:
    """Samples return, out of order, and validation comes between."""
    whole, part = twice(compiled, folder)
    cache = [part.front(x(i)) for i in range(steps // 2)]
    for step in range(steps):
        i, label = (step * 3) % len(cache), step % compiled.manifest["classes"]
        assert bits(whole.forward(x(i), label)) == bits(part.forward_from(cache[i], label))
        assert bits(whole.step(x(i), label, lr)) == bits(part.step_from(cache[i], label, lr))
        assert whole.state_bytes() == part.state_bytes()
    assert whole.lib.mg_saturated() == part.lib.mg_saturated()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_network(scheme: str, tmp_path: Path) -> None:
    graph = small(5)
    compiled = compile_model(graph, scheme, boards.load(F746))
    assert_same_training(compiled, tmp_path, 20, 0.01, lambda i: sample(graph, i))


def test_default_model(tmp_path: Path) -> None:
    x = images("paper-digits")
    compiled = compile_model(models.load("digits-tiny", 10), "10kb", boards.load(F746))
    assert_same_training(compiled, tmp_path, 20, 0.01, lambda i: x[i])


def test_paper_model(tmp_path: Path) -> None:
    x = images("flowers102")
    compiled = compile_model(models.load("mcunet-5fps", 10), "99kb", boards.load("nucleo_h743zi"))
    assert compiled.manifest["front"]["nodes"] > 20
    assert_same_training(compiled, tmp_path, 20, 0.002, lambda i: x[i])


def test_front_runs_nothing_else(tmp_path: Path) -> None:
    compiled = compile_model(small(5), "last-4", boards.load(F746))
    model = host_model(compiled, tmp_path)
    ran: list[int] = []
    model.on_node(ran.append)
    front = model.front(sample(compiled.graph, 0))
    nodes = compiled.manifest["front"]["nodes"]
    assert ran == list(range(nodes)) and 0 < nodes < compiled.manifest["forward_nodes"]
    ran.clear()
    model.step_from(front, 0, 0.01)
    assert ran == list(range(nodes, len(compiled.plan.order)))
