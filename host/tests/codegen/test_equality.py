"""Reference == generated C on this machine: every value of every node, and the state, step after step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, data, interp
from mcugrad.codegen.c import emit, write
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.hostmodel import HostModel
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.pipeline import Compiled, compile_model
from tests.networks import sample, small

SCHEMES = ["full", "head-only", "bias-only", "last-4", "5 3:1/2 4:1/3 6:1 9:1/4"]
F746 = "nucleo_f746zg"


def host_model(compiled: Compiled, folder: Path) -> HostModel:
    return HostModel(write(compiled.emitted, folder / "gen"), folder / "model.so")


def assert_equal_steps(
    compiled: Compiled,
    model: HostModel,
    steps: int,
    lr: float,
    x: Callable[[int], Array],
    every_value: bool = True,
) -> None:
    """Both take the same steps; all values and all trained tensors are equal bit for bit."""
    graph, partial = compiled.graph, compiled.plan.partial
    offsets = {name: at for name, at in compiled.plan.offsets.items() if name not in partial}
    classes, state = compiled.manifest["classes"], interp.initial_state(graph)
    seen: dict[str, Array] = {}

    def snapshot(i: int) -> None:
        node = compiled.plan.order[i]
        for name in (n for n in node.outs if n in offsets):
            v = graph.value(name)
            seen[name] = model.value(v.dtype, v.shape, offsets[name])

    model.on_node(snapshot if every_value else None)
    for step in range(steps):
        env, state = interp.run(graph, {"x": x(step)} | interp.scalars(step % classes, lr), state)
        result = model.step(x(step), step % classes, lr)
        assert np.float32(result.loss) == env["loss"][0] and result.predicted == env["predicted"][0], (
            f"step {step}"
        )
        for name, value in seen.items():
            assert np.array_equal(value, env[name]), f"step {step}: {name}"
        for name, value in model.state().items():
            assert np.array_equal(value, state[name]), f"step {step}: {name}"
    made = {n for node in graph.nodes for n in node.outs if n in offsets}
    assert not every_value or set(seen) >= made


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_network(scheme: str, tmp_path: Path) -> None:
    graph = small(len(scheme))
    compiled = compile_model(graph, scheme, boards.load(F746))
    assert_equal_steps(compiled, host_model(compiled, tmp_path), 12, 0.01, lambda i: sample(graph, i))


def test_wild_learning_rate_saturates_alike(tmp_path: Path) -> None:
    graph = small(3)
    compiled = compile_model(graph, "last-7", boards.load(F746))
    assert_equal_steps(compiled, host_model(compiled, tmp_path), 6, 30.0, lambda i: sample(graph, i))


def test_infinite_loss_changes_nothing(tmp_path: Path) -> None:
    graph = small()
    compiled = compile_model(graph, "full", boards.load(F746))
    model = host_model(compiled, tmp_path)
    for _ in range(3):
        before, result = model.state_bytes(), model.step(sample(graph, 0), 0, 3e38)
        if not np.isfinite(result.loss):
            break
    assert not np.isfinite(result.loss) and model.state_bytes() == before


def test_inference_changes_nothing(tmp_path: Path) -> None:
    graph = small()
    compiled = compile_model(graph, "full", boards.load(F746))
    model = host_model(compiled, tmp_path)
    before = model.state_bytes()
    result = model.forward(sample(graph, 1), 2)
    assert model.state_bytes() == before
    env = interp.forward(compiled.graph, {"x": sample(graph, 1)} | interp.scalars(2))
    assert np.float32(result.loss) == env["loss"][0]


def images(name: str) -> list[Array]:
    try:
        x = data.load(name).x_train[:100]
    except UserError as absent:
        pytest.skip(str(absent))
    return [(image.astype(np.int16) - 128).astype(np.int8) for image in x]


def test_default_model_100_steps(tmp_path: Path) -> None:
    x = images("paper-digits")
    compiled = compile_model(models.load("digits-tiny", 10), "10kb", boards.load(F746))
    assert_equal_steps(compiled, host_model(compiled, tmp_path), 100, 0.01, lambda i: x[i])


@pytest.mark.parametrize(("model", "scheme"), [("mcunet-5fps", "49kb"), ("mbv2-w0.35", "49kb")])
def test_paper_model_10_steps(model: str, scheme: str, tmp_path: Path) -> None:
    x = images("flowers102")
    compiled = compile_model(models.load(model, 10), scheme, boards.load("nucleo_h743zi"))
    assert_equal_steps(compiled, host_model(compiled, tmp_path), 10, 0.002, lambda i: x[i])


def test_same_bytes_every_time() -> None:
    def text(graph: Graph) -> dict[str, str]:
        return dict(compile_model(graph, "last-4", boards.load(F746)).emitted.files)

    assert text(small(1)) == text(small(1))
    assert text(small(1))["model.c"] != text(small(2))["model.c"]


def test_emit_is_what_write_writes(tmp_path: Path) -> None:
    compiled = compile_model(small(), "last-4", boards.load(F746))
    folder = write(emit(compiled.graph, compiled.plan), tmp_path)
    stamp = (folder / "params.c").stat().st_mtime_ns
    write(compiled.emitted, tmp_path)
    assert (folder / "params.c").stat().st_mtime_ns == stamp
