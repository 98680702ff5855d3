"""A .csv of readings -> windows; every bad cell, column and rate is named with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcugrad.config import Job, SensorSection
from mcugrad.errors import UserError
from mcugrad.sources import Split, open_source

SHAPE = (8, 2, 1)


def lines(rows: int = 60, rate: float = 50) -> list[str]:
    """Two stretches of each of two labels."""
    body = [
        f"{i / rate:.3f},{i % 7 / 10},{-(i % 5) / 10},{'walk' if i // rows % 2 else 'rest'}"
        for i in range(4 * rows)
    ]
    return ["t,x,y,label", *body]


def split(folder: Path, text: list[str], shape: tuple[int, int, int] = SHAPE, **plan: object) -> Split:
    (folder / "walk.csv").write_text("\n".join(text) + "\n")
    section = SensorSection.model_validate({"time": "t", **plan})
    return open_source(str(folder / "walk.csv"), 0, Job(sensor=section)).split(shape)


def test_windows_of_two_classes(tmp_path: Path) -> None:
    found = split(tmp_path, lines())
    assert found.classes == ("rest", "walk")
    assert set(found.train.labels) == set(found.test.labels) == {0, 1}
    # 48 rows of a stretch train: windows at 0, 4 ... 40; 12 judge: at 0 and 4.
    assert len(found.train) == 4 * 11 and len(found.test) == 4 * 2
    x = [float(line.split(",")[1]) for line in lines()[1:9]]
    assert np.array_equal(
        found.train.pixels[0, :, 0, 0], np.rint(255 * (np.array(x) + 1) / 2).astype(np.uint8)
    )


def test_columns_may_be_channels(tmp_path: Path) -> None:
    wide, deep = split(tmp_path, lines()), split(tmp_path, lines(), (8, 1, 2))
    assert np.array_equal(wide.train.pixels.ravel(), deep.train.pixels.ravel())


def test_no_reading_is_in_both_parts(tmp_path: Path) -> None:
    text = ["label,x,y"] + [f"{'ab'[i // 40]},{i},{i}" for i in range(80)]
    found = split(tmp_path, text, time="", low=0, high=255)
    train, test = (set(part.pixels.ravel().tolist()) for part in (found.train, found.test))
    assert train and test and not train & test


def test_beyond_the_range_is_the_nearest(tmp_path: Path) -> None:
    found = split(tmp_path, lines(), low=0.0, high=0.1)
    assert set(np.unique(found.train.pixels)) == {0, 255}


def replaced(at: int, old: str, new: str) -> Callable[[], list[str]]:
    def make() -> list[str]:
        text = lines()
        assert old in text[at]
        text[at] = text[at].replace(old, new, 1)
        return text

    return make


@pytest.mark.parametrize(
    ("make", "plan", "what", "where"),
    [
        (replaced(0, "label", "kind"), {}, "no column label", "walk.csv"),
        (lines, {"columns": ("x", "z")}, "no column z", "walk.csv"),
        (lines, {"label": ""}, "no column holds the label", "[sensor] label"),
        (replaced(6, ",0.0,", ",nan,"), {}, "the reading is nan", "line 7, y"),
        (replaced(6, ",0.0,", ",?,"), {}, "'?' is no number", "line 7, y"),
        (replaced(6, ",rest", ","), {}, "no label", "line 7"),
        (replaced(6, ",rest", ""), {}, "3 cells, the header has 4", "line 7"),
        (lines, {"rate": 100}, "50 rows a second, the job says 100", "walk.csv, lines 2 to 61"),
        (replaced(6, "0.100", "0.010"), {}, "'t' does not rise", "walk.csv"),
        (lines, {"low": 1, "high": 1}, "low 1.0 is not below high 1.0", "[sensor] low, high"),
        (lambda: lines(7), {}, "no training images", "walk.csv"),
        (lambda: [], {}, "the file is empty", "walk.csv"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, make: Callable[[], list[str]], plan: dict[str, object], what: str, where: str
) -> None:
    with pytest.raises(UserError) as error:
        split(tmp_path, make(), **plan)
    assert error.value.what.startswith(what) and where in error.value.where and error.value.fix


def test_a_model_of_another_width(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 columns of readings, the model takes 28x28x1") as error:
        split(tmp_path, lines(), (28, 28, 1))
    assert "28x2x1" in error.value.fix


def test_no_such_file() -> None:
    with pytest.raises(UserError, match="unreadable"):
        open_source("/nowhere/walk.csv")
