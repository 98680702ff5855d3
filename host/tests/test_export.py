"""What other tools read of a run is what its database holds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcugrad import export
from mcugrad.errors import UserError
from mcugrad.telemetry import LINK_COLUMNS, STEP_COLUMNS, Telemetry


@pytest.fixture
def log(tmp_path: Path) -> Telemetry:
    log = Telemetry.create(tmp_path / "telemetry.sqlite", job={}, manifest={}, board={}, memory=[])
    for step in (1, 2, 3):
        row = {**dict.fromkeys((*STEP_COLUMNS, *LINK_COLUMNS), 0), "loss": 1 / step, "time": 1e9 + step}
        log.step({**row, "step": step, "label": 1, "predicted": step % 2, "sample_seconds": 0.5 * step})
    log.evaluation(0, 0.25, 1.5, [1, 2])
    return log


def events(path: Path) -> Iterator[Any]:
    """The records of an event file, by TensorFlow's own framing: length, its CRC, data, its CRC."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    data = path.read_bytes()
    while data:
        (size,) = struct.unpack_from("<Q", data)
        yield proto.Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]


def test_tensorboard_has_every_step_at_its_time(log: Telemetry, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    (path,) = export.export(log, tmp_path, "tensorboard")
    found = {(v.tag, e.step): (v.simple_value, e.wall_time) for e in events(path) for v in e.summary.value}
    assert found["train/loss", 2] == (0.5, 1e9 + 2) and found["train/right", 3][0] == 1.0
    assert found["held_out/accuracy", 0][0] == 0.25
    assert len(found) == 3 * 11 + 2


def test_parquet_has_every_row(log: Telemetry, tmp_path: Path) -> None:
    files = pytest.importorskip("pyarrow.parquet")
    written = export.export(log, tmp_path, "parquet")
    assert [path.name for path in written] == ["steps.parquet", "link.parquet", "evals.parquet"]
    for path in written:
        assert files.read_table(path).to_pylist() == log.table(path.stem)


def test_another_format_and_an_absent_package_are_said(
    log: Telemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no format 'xlsx'") as error:
        export.export(log, tmp_path, "xlsx")
    assert "tensorboard or parquet" in error.value.fix
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match="pyarrow is not installed"):
        export.export(log, tmp_path, "parquet")
