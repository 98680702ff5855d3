"""The true firmware image on the emulated board: same bits as the reference, memory as planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, interp, stack
from mcugrad.build import build, size
from mcugrad.codegen.c import write
from mcugrad.codegen.params import state_tensors
from mcugrad.errors import MismatchError
from mcugrad.frontend import models
from mcugrad.hostmodel import HostModel
from mcugrad.ir.graph import Array
from mcugrad.link.identity import Expected
from mcugrad.link.ports import emulated
from mcugrad.link.session import Session
from mcugrad.pipeline import Compiled, compile_model
from tests.codegen.test_equality import images
from tests.networks import Net, sample, small

BOARD, H743 = "nucleo_f746zg", "nucleo_h743zi"
Image = tuple[Compiled, Path]


def image(compiled: Compiled, folder: Path, board: str = BOARD) -> Image:
    return compiled, build(board, write(compiled.emitted, folder / "gen"), folder / "out")


def session(made: Image, board: str = BOARD, **other: str) -> Session:
    compiled, elf = made
    expected = replace(Expected.of(board, compiled.manifest, compiled.fit.statics), **other)
    return Session.connect(emulated(board, elf), boards.load(board).baud, expected, elf)


def assert_same_training(
    made: Image, steps: int, lr: float, x: Callable[[int], Array], folder: Path, board: str = BOARD
) -> None:
    """Loss and prediction of every step and the final state: reference == host C == board."""
    compiled, _ = made
    host = HostModel(folder / "gen", folder / "host.so")
    state, classes = interp.initial_state(compiled.graph), compiled.manifest["classes"]
    port = session(made, board)
    try:
        for step in range(steps):
            label = step % classes
            env, state = interp.run(compiled.graph, {"x": x(step)} | interp.scalars(label, lr), state)
            on_host, on_board = (
                host.step(x(step), label, lr),
                port.train(step + 1, x(step).tobytes(), label, lr),
            )
            losses = {env["loss"][0].tobytes(), np.float32(on_host.loss).tobytes()}
            assert losses == {np.float32(on_board["loss"]).tobytes()}, f"step {step}"
            assert env["predicted"][0] == on_host.predicted == on_board["predicted"], f"step {step}"
        bytes_on_board = port.read_state()
    finally:
        port.close()
    assert bytes_on_board == host.state_bytes()
    for name, value in state_tensors(bytes_on_board, compiled.manifest).items():
        assert np.array_equal(value, state[name]), name


def test_mcunet_10_steps(tmp_path: Path) -> None:
    x = images("flowers102")
    compiled = compile_model(models.load("mcunet-5fps", 10), "49kb", boards.load(BOARD))
    assert_same_training(image(compiled, tmp_path), 10, 0.002, lambda i: x[i], tmp_path)


@pytest.fixture(scope="module")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("small")
    return image(compile_model(small(), "5 3:1/2 4:1/3 6:1 9:1/4", boards.load(BOARD)), folder)


def test_random_network_30_steps(small_image: Image) -> None:
    folder = small_image[1].parents[1]
    assert_same_training(small_image, 30, 0.01, lambda i: sample(small_image[0].forward, i), folder)


def test_a_model_over_two_memories(tmp_path: Path) -> None:
    """The arena in DTCM, the trained state, too large for it, in AXI: as planned, as linked, as trained."""
    net = Net((6, 6, 64), 1).conv("a", 64, 3).conv("b", 64, 3).head(4)
    compiled = compile_model(net, "full", boards.load(H743))
    made = image(compiled, tmp_path, H743)
    parts = {r.memory.name: set(r.parts) for r in compiled.fit.regions}
    assert "arena" in parts["DTCM"] and parts["AXI"] == {"trained state"}
    assert size(made[1], boards.load(H743)).ram == {r.memory.name: r.used for r in compiled.fit.regions}
    assert_same_training(made, 3, 0.01, lambda i: sample(compiled.forward, i), tmp_path, H743)


def test_ram_is_as_planned(small_image: Image) -> None:
    """Plan, ELF and what the board says of itself agree to the byte."""
    compiled, elf = small_image
    plan, linked = compiled.fit, size(elf, boards.load(BOARD))
    assert (linked.static, linked.arena, linked.stack) == (plan.statics, plan.arena, plan.stack)
    board = session(small_image)
    try:
        result = board.evaluate(sample(compiled.forward, 0).tobytes(), 0)
        at = {
            name: board.control({"cmd": "symbol", "name": name})["address"]
            for name in ("mg_arena", "mg_state")
        }
    finally:
        board.close()
    assert at["mg_arena"] < at["mg_state"], "what is used most lies in DTCM, the first part of this region"
    assert (result["static_bytes"], result["arena_bytes"]) == (plan.statics, plan.arena)
    assert 0 < result["stack_high"] < plan.stack


def test_stack_is_within_its_bound(small_image: Image) -> None:
    """The paint that a training step and an evaluation leave, against the bound from the code."""
    compiled, elf = small_image
    board = session(small_image)
    try:
        x = sample(compiled.forward, 0).tobytes()
        high = max(board.train(1, x, 0, 0.01)["stack_high"], board.evaluate(x, 0)["stack_high"])
    finally:
        board.close()
    bound = stack.deepest(stack.read(elf)).bytes
    assert high <= bound <= 1.25 * high


@pytest.mark.parametrize("board", boards.known())
def test_plan_is_the_linked_image_on_every_board(board: str, small_image: Image, tmp_path: Path) -> None:
    compiled = compile_model(small(), "last-3", boards.load(board))
    elf = build(board, write(compiled.emitted, tmp_path / "gen"), tmp_path / "out")
    linked = size(elf, boards.load(board))
    assert (linked.static, linked.arena) == (compiled.fit.statics, compiled.fit.arena)
    assert linked.ram == {r.memory.name: r.used for r in compiled.fit.regions}
    assert "stack at most" in stack.fit(elf, linked.stack)


def test_another_firmware_is_refused(small_image: Image) -> None:
    with pytest.raises(MismatchError, match="another model"):
        session(small_image, model_hash="0" * 32)


def test_inference_on_the_board_changes_nothing(small_image: Image) -> None:
    board = session(small_image)
    try:
        before = board.read_state()
        for label in range(3):
            board.evaluate(sample(small_image[0].forward, label).tobytes(), label)
        assert board.read_state() == before
    finally:
        board.close()
