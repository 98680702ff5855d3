"""The comparison shows every tensor that an execution can show, and finds the one that was made to differ."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from mcugrad import boards, paths
from mcugrad.build import build
from mcugrad.codegen.c import write
from mcugrad.config import BoardSection, Job
from mcugrad.errors import MismatchError
from mcugrad.ir import Graph
from mcugrad.pipeline import compile_model
from mcugrad.plan import cuts
from mcugrad.prepare import Prepared
from mcugrad.sources import Samples, Split
from mcugrad.twin import engine
from mcugrad.validate import command, executions
from mcugrad.validate.compare import Cell, Comparison, compare
from tests.networks import sample, small, wide_front

pytest.importorskip("unicorn")
BOARD = "nucleo_f746zg"


def pixels(graph: Graph, count: int) -> Samples:
    x = np.stack([sample(graph, i) for i in range(count)])
    return Samples(x.view(np.uint8) ^ 0x80, np.arange(count) % 4)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared(small(), "2 5:1/2 8:1/3", tmp_path_factory.mktemp("validate"))


def prepared(graph: Graph, scheme: str, folder: Path) -> Prepared:
    compiled = compile_model(graph, scheme, boards.load(BOARD))
    elf = build(BOARD, write(compiled.emitted, folder / "gen"), folder / "out")
    some = pixels(graph, 6)
    split = Split(some, some, tuple("abcde"))
    return Prepared(Job(board=BoardSection(id=BOARD)), boards.load(BOARD), compiled, elf, split)


@pytest.fixture
def plugged(ready: Prepared) -> Iterator[Prepared]:
    """The same job with its board at the name of a serial device."""
    arguments = [sys.executable, "-m", "mcugrad.emulator", "--pty", f"--board={BOARD}", f"--elf={ready.elf}"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=paths.PACKAGE.parent, text=True) as child:
        assert child.stdout
        port = child.stdout.readline().strip()
        job = ready.job.model_copy(update={"board": BoardSection(id=BOARD, port=port)})
        yield replace(ready, job=job)
        child.kill()


def compared(ready: Prepared, count: int = 2) -> Comparison:
    with executions.executions(ready, lambda event: None) as (found, absent):
        return compare(ready.compiled.graph, found, absent, command.batch(ready, count))


def test_all_four_are_equal_and_say_what_they_show(plugged: Prepared) -> None:
    found = compared(plugged)
    about = {e["name"]: e for e in found.json()["executions"]}
    assert list(about) == ["torch", "host C", "emulated", "board"] and found.equal and not found.absent
    graph, windows = plugged.compiled.graph, plugged.compiled.plan.partial
    assert about["torch"]["shown"] == len(found.rows)
    assert about["host C"]["shown"] == about["emulated"]["shown"] == len(found.rows) - len(windows)
    trained = sum(p.trained for p in graph.params.values())
    assert about["board"]["shown"] == trained + 2 and "no other" in about["board"]["shows"]
    assert {row.phase for row in found.rows if "emulated" in row.cells} > {"forward", "backward"}
    moved = [row for row in found.rows if row.phase == "backward" and row.largest > 0]
    assert moved, "gradients of nothing but zeros would be equal too"
    command.refuse(found)


def test_tensors_of_a_step_that_began_while_its_sample_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts, "MOST", inf)
    fed = prepared(wide_front(), "head-only", tmp_path)
    assert fed.compiled.manifest["feeds"]
    found = compared(fed)
    streamed = [row for row in found.rows if row.name in fed.compiled.plan.windows]
    assert found.equal and streamed and found.shown("emulated") == len(found.rows) - len(streamed)


def test_a_wrong_gradient_in_torch_is_found_where_it_begins(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = engine.BACKWARD["conv2d_dx"]

    def wrong(*args: Any, **attrs: Any) -> Any:
        first, *rest = right(*args, **attrs)
        return first + torch.ones_like(first), *rest

    monkeypatch.setitem(engine.BACKWARD, "conv2d_dx", wrong)
    found = compared(ready, 1)
    first = found.different("torch")[0]
    assert (first.op, first.cells["torch"].error) == ("conv2d_dx", 1.0)
    assert not found.different("host C") and not found.different("emulated")
    with pytest.raises(MismatchError, match="torch differs") as error:
        command.refuse(found)
    assert error.value.exit_code == 7 and first.name in error.value.where


def test_one_wrong_weight_on_the_board_is_found(ready: Prepared) -> None:
    with executions.executions(ready, lambda event: None) as (found, absent):
        emulated = found[-1]
        assert isinstance(emulated, executions.Emulated)
        state = bytearray(emulated._session.read_state())
        name, _, _, offset = next(s for s in ready.compiled.manifest["state"] if s[0].endswith(".b_frac"))
        state[offset] ^= 1
        emulated._session.write_state(bytes(state), 0)
        result = compare(ready.compiled.graph, found, absent, command.batch(ready, 1))
    assert [row.name for row in result.different("emulated")] == [name]
    assert result.different("emulated")[0].cells["emulated"].different == 1
    assert not result.different("host C")


def test_what_is_absent_is_said(ready: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "_installed", lambda module: False)
    found = compared(ready, 1)
    assert [e.name for e in found.executions] == ["host C"]
    assert set(found.json()["absent"]) == {"torch", "emulated", "board"}
    monkeypatch.setattr(executions.shutil, "which", lambda name: None)
    with executions.executions(ready, lambda event: None) as (none, absent):
        assert not none and "C compiler" in {a.name: a.why for a in absent}["host C"]
    console = Console(width=200, file=io.StringIO())
    command.show(found, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "mcugrad[compile]" in text and "no --port given" in text


def test_the_command_writes_one_json_object(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "prepare", lambda job, tell: ready)
    monkeypatch.setattr(executions, "_installed", lambda module: False)
    command.validate(count=1, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["equal"] and found["samples"] == 1 and found["tensors"][0]["executions"]["host C"]["equal"]


def test_errors_of_no_numbers() -> None:
    cell = Cell()
    cell.add(np.array([np.nan, 1, 2], np.float32), np.array([np.nan, 1, 2.5], np.float32))
    assert (cell.error, cell.different, cell.equal) == (0.5, 1, False)
    cell.add(np.array([np.nan]), np.array([1.0]))
    assert cell.error == np.inf and cell.elements == 4
