"""mcugrad.toml and flags -> Job, one frozen description of a training run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mcugrad.errors import UsageError, UserError

FILE = "mcugrad.toml"
Update = Literal["8.8", "int8", "fp32"]
UPDATES: tuple[Update, ...] = get_args(Update)
EMULATED = "emulated"

# Flags of the command line -> section and field of the file.
FLAGS: Mapping[str, tuple[str, str]] = {
    "model": ("model", "name"),
    "scheme": ("model", "scheme"),
    "channels": ("model", "channels"),
    "data": ("data", "source"),
    "samples": ("data", "samples"),
    "held_out": ("data", "held_out"),
    "seed": ("data", "seed"),
    "board": ("board", "id"),
    "port": ("board", "port"),
    "epochs": ("train", "epochs"),
    "lr": ("train", "lr"),
    "update": ("train", "update"),
    "out": ("run", "out"),
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    name: str = "digits-tiny"
    scheme: str = "10kb"
    channels: Literal["l2", "fisher"] = "l2"


class DataSection(_Section):
    source: str = "paper-digits"
    samples: int = Field(default=0, ge=0)
    held_out: int = Field(default=200, ge=0)
    seed: int = Field(default=0, ge=0)


class BoardSection(_Section):
    id: str = "nucleo_f746zg"
    port: str = EMULATED


class TrainSection(_Section):
    epochs: int = Field(default=1, ge=1)
    lr: float = Field(default=0.02, gt=0, le=3e38, allow_inf_nan=False)
    update: Update = "8.8"
    warmup: float = Field(default=0.05, ge=0, le=1)
    final: float = Field(default=0.0, ge=0, le=1)
    evaluate: int = Field(default=300, ge=0)
    checkpoint: int = Field(default=50, ge=1)


class CaptureSection(_Section):
    classes: tuple[str, ...] = ()
    count: int = Field(default=100, ge=1)


class SensorSection(_Section):
    columns: tuple[str, ...] = ()
    label: str = "label"
    time: str = ""
    rate: float = Field(default=0.0, ge=0, le=1e9, allow_inf_nan=False)
    stride: int = Field(default=0, ge=0)
    low: float = Field(default=-1.0, allow_inf_nan=False)
    high: float = Field(default=1.0, allow_inf_nan=False)
    baud: int = Field(default=115200, ge=1)


class AudioSection(_Section):
    rate: int = Field(default=16000, ge=1)
    seconds: float = Field(default=1.0, gt=0, le=3600)
    low_hz: float = Field(default=60.0, ge=0, allow_inf_nan=False)
    high_hz: float = Field(default=7600.0, gt=0, allow_inf_nan=False)
    floor_db: float = Field(default=-80.0, lt=0, ge=-300)


class NormaliseSection(_Section):
    mode: Literal["none", "stretch", "standard"] = "none"


class AugmentSection(_Section):
    flip: bool = False
    shift: int = Field(default=0, ge=0, le=1024)
    brightness: int = Field(default=0, ge=0, le=255)
    noise: int = Field(default=0, ge=0, le=127)


class RunSection(_Section):
    out: Path = Path("runs")
    record: bool = False


class Job(_Section):
    """Everything that decides a run; the same job gives the same weights."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    board: BoardSection = BoardSection()
    train: TrainSection = TrainSection()
    capture: CaptureSection = CaptureSection()
    sensor: SensorSection = SensorSection()
    audio: AudioSection = AudioSection()
    normalise: NormaliseSection = NormaliseSection()
    augment: AugmentSection = AugmentSection()
    run: RunSection = RunSection()


def load(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> Job:
    """The job of a file (by default ./mcugrad.toml, where there is one), with the given flags over it.

    UsageError names the field or the flag that is wrong.
    """
    table = _read(path or Path(FILE)) if path or Path(FILE).is_file() else {}
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    for name, value in given.items():
        section, field = FLAGS[name]
        table[section] = {**table.get(section, {}), field: value}
    try:
        return Job.model_validate(table)
    except ValidationError as error:
        raise _explain(error, given, path or Path(FILE)) from None


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's arguments that are flags."""
    return {name: values[name] for name in FLAGS if name in values}


def rates(text: str) -> list[float]:
    """Learning rates with commas between; UsageError for what `lr` may not be."""
    try:
        return [TrainSection.model_validate({"lr": item}).lr for item in text.split(",")]
    except ValidationError as error:
        first = error.errors()[0]
        what = f"'{first['input']}' is no learning rate: {first['msg'].lower()}"
        raise UsageError(what, "--rates", "write them as in 0.003,0.01") from None


def dump(job: Job) -> str:
    """The job as TOML; `load` of it gives the same job."""
    lines = []
    for section, fields in job.model_dump(mode="json").items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {_scalar(value)}" for key, value in fields.items()]
        lines.append("")
    return "\n".join(lines)


def _scalar(value: Any) -> str:
    # JSON's scalars are TOML's, but for DEL and for what JSON would escape in halves.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the job ({error})", str(path), "give the path of a job file") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML ({error})", str(path), "mend that line") from None


def _explain(error: ValidationError, given: Mapping[str, Any], path: Path) -> UsageError:
    first = error.errors()[0]
    place = tuple(str(part) for part in first["loc"])
    flag = next((name for name in given if FLAGS[name] == place), None)
    where = f"--{flag.replace('_', '-')}" if flag else f"{path}, [{place[0]}] {'.'.join(place[1:])}"
    what = f"{'.'.join(place)} = {first['input']!r}: {first['msg'].lower()}"
    return UsageError(what, where, f"see the comments in {FILE}")
