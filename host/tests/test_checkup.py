"""The doctor's look at a board: each thing that may be wrong, with its fix."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcugrad import checkup, paths
from mcugrad.checkup import examine_board
from mcugrad.link.ports import open_port
from tests.link.test_ports import PtyBoard


@pytest.fixture
def board() -> Iterator[PtyBoard]:
    made = PtyBoard()
    yield made
    if not made.stopped.is_set():
        made.unplug()


def only(port: str) -> tuple[str, str]:
    (finding,) = examine_board(port)
    return finding.found, finding.fix


def test_a_well_board(board: PtyBoard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    found, fix = only(board.path)
    assert f"runs toy {board.board.hash.hex()[:12]}, 0 steps trained" in found
    assert not fix


def test_a_busy_port(board: PtyBoard) -> None:
    held = open_port(board.path, 921600)
    found, fix = only(board.path)
    held.close()
    assert "in use by another program" in found
    assert "close the other program" in fix


def test_an_absent_port() -> None:
    found, fix = only("/dev/ttyNOPE")
    assert "there is no port" in found
    assert "plug the board in" in fix


def test_a_forbidden_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("serial.serial_for_url", refuse)
    found, fix = only("/dev/ttyACM0")
    assert "no permission" in found
    assert "dialout" in fix


def test_a_silent_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "BAUDS", (921600, 115200))
    master, slave = os.openpty()
    found, fix = only(os.ttyname(slave))
    os.close(master)
    os.close(slave)
    assert "nothing that speaks mcugrad answers" in found
    assert "-t upload" in fix


def test_another_image_than_the_one_built(
    board: PtyBoard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    gen = paths.generated(board.board.expected.board)
    gen.mkdir(parents=True)
    (gen / "manifest.json").write_text(json.dumps({"hash": "ab" * 16}))
    first, second = examine_board(board.path)
    assert not first.fix
    assert "the image built here is abababababab" in second.found
    assert "-t upload" in second.fix


def test_another_rate(board: PtyBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pty has no rate, so the first one asked stands for the one that answers."""
    monkeypatch.setattr(checkup, "BAUDS", (115200,))
    findings = [f for f in examine_board(board.path) if f.name.endswith("baud")]
    assert [f.found for f in findings] == ["answers at 115200, boards/nucleo_f746zg.json says 921600"]
