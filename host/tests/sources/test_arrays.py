"""Arrays in a file -> samples; every wrong one is named with its array and place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from mcugrad.errors import UsageError, UserError
from mcugrad.sources import Samples, Split, open_source
from mcugrad.sources.image import as_bytes

SHAPE = (8, 8, 1)


def arrays(**other: Any) -> dict[str, Any]:
    """Three classes, twelve training images."""
    x = np.arange(18 * 64, dtype=np.uint8).reshape(18, 8, 8)
    y = np.arange(18) % 3
    made = {"x_train": x[:12], "y_train": y[:12], "x_test": x[12:], "y_test": y[12:], "classes": list("abc")}
    return {name: value for name, value in (made | other).items() if value is not None}


def split(path: Path, **other: Any) -> Split:
    np.savez(path / "mine.npz", **arrays(**other))
    return open_source(str(path / "mine.npz")).split(SHAPE)


def refusal(path: Path, **other: Any) -> UserError:
    with pytest.raises(UserError) as error:
        split(path, **other)
    assert error.value.exit_code == 3 and str(path / "mine.npz") in error.value.where and error.value.fix
    return error.value


def floats(value: float, index: tuple[int, ...] = (7, 2, 3)) -> np.ndarray[Any, Any]:
    x = arrays()["x_train"].astype(np.float32)
    x[index] = value
    return x


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float32, np.float64])
def test_pixels_of_any_number_type(tmp_path: Path, kind: type) -> None:
    found = split(tmp_path, x_train=arrays()["x_train"].astype(kind))
    assert found.classes == ("a", "b", "c")
    assert np.array_equal(found.train.pixels[..., 0], arrays()["x_train"])


@pytest.mark.parametrize(("value", "name"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_value_that_is_no_number(tmp_path: Path, value: float, name: str) -> None:
    error = refusal(tmp_path, x_train=floats(value))
    assert error.what == f"the pixel at [7, 2, 3] is {name}"
    assert error.where.endswith("mine.npz, x_train") and "mend or remove" in error.fix


def test_many_are_counted(tmp_path: Path) -> None:
    x = arrays()["x_test"].astype(np.float64)
    x[2:4, 0, 0] = np.nan
    error = refusal(tmp_path, x_test=x)
    assert error.what == "the pixel at [2, 0, 0] is nan, one of 2 such" and error.where.endswith("x_test")


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"x_train": floats(256)}, r"the pixel at \[7, 2, 3\] is 256.0"),
        ({"x_train": floats(-1)}, r"the pixel at \[7, 2, 3\] is -1.0"),
        ({"x_train": np.full((12, 8, 8), 0.5)}, "the pixels lie between 0 and 1"),
        ({"x_train": np.zeros((12, 8, 8), complex)}, "complex128 values"),
        ({"x_train": np.zeros((12, 64), np.uint8)}, r"images of shape \[12, 64\]"),
        ({"x_train": np.zeros((12, 8, 8, 2), np.uint8)}, r"images of shape \[12, 8, 8, 2\]"),
        ({"x_train": np.zeros((11, 8, 8), np.uint8)}, "11 images, 12 labels"),
        ({"x_train": None}, "no x_train"),
        ({"classes": None, "y_test": None}, "no y_test, classes"),
        ({"y_train": np.full(12, np.nan)}, r"labels are float64\[12\]"),
        ({"y_train": np.arange(12) % 4}, "label 3 among the training images, 3 classes"),
        ({"y_train": -(np.arange(12) % 3)}, "label -2 among the training images"),
        ({"y_test": np.full(6, 9)}, "label 9 among the held-out images"),
        (
            {"y_train": np.zeros(12, int)},
            r"2 of 3 classes without a training image: 'b' \(2 held out\), 'c' \(",
        ),
        ({"x_test": np.zeros((0, 8, 8), np.uint8), "y_test": np.zeros(0, int)}, "no held-out images"),
        ({"classes": ["a"], "y_train": np.zeros(12, int), "y_test": np.zeros(6, int)}, "one class only"),
        ({"classes": np.array([None, "b", "c"])}, "unreadable arrays"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, other: dict[str, Any], what: str) -> None:
    found = refusal(tmp_path, **other).what
    assert re.match(what, found), found


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no archive"])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(UserError, match="unreadable arrays"):
        open_source(str(tmp_path / "mine.npz"))


def test_no_such_file() -> None:
    with pytest.raises(UserError, match="unreadable arrays"):
        open_source("/nowhere/mine.npz")


Numbers = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int16, np.uint16, np.int64])


@given(Numbers.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4))))
def test_numbers_are_bytes_or_refused(values: np.ndarray[Any, Any]) -> None:
    try:
        found = as_bytes(values, "here")
    except UserError as error:
        assert error.where == "here"
        return
    assert found.dtype == np.uint8 and np.abs(found - values.astype(np.float64)).max(initial=0) <= 0.5


@given(st.lists(st.integers(0, 9), min_size=10, max_size=60), st.integers(1, 60), st.integers(0, 5))
def test_some_of_each_class(labels: list[int], count: int, seed: int) -> None:
    classes = len(set(labels))
    samples = Samples(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), np.array(labels))
    found = samples.some_of_each(max(count, classes), seed)
    assert set(found.labels) == set(labels) and len(found) == min(max(count, classes), len(labels))
    assert (np.diff(found.pixels.reshape(-1)) > 0).all(), "each once, in their order"
    drawn = samples.some(max(count, classes), seed)
    if set(drawn.labels) == set(labels):
        assert np.array_equal(found.pixels, drawn.pixels)


def test_fewer_samples_than_classes(tmp_path: Path) -> None:
    whole = split(tmp_path)
    assert set(whole.some(3, 2, 0).train.labels) == {0, 1, 2}
    with pytest.raises(UsageError, match="2 training images cannot show 3 classes") as error:
        whole.some(2, 0, 0)
    assert error.value.where == "--samples" and "at least 3" in error.value.fix


def image_folder(root: Path, image: Image.Image) -> Path:
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(3):
            Image.new("L", (8, 8), 40 * i).save(root / name / f"{i}.png")
    image.save(root / "b" / "odd.tiff")
    return root


def test_a_float_image_that_is_no_number_is_named(tmp_path: Path) -> None:
    values = np.full((8, 8), 100, np.float32)
    values[5, 6] = np.nan
    with pytest.raises(UserError, match=r"the pixel at \[5, 6\] is nan") as error:
        open_source(str(image_folder(tmp_path, Image.fromarray(values)))).split(SHAPE)
    assert error.value.where.endswith("odd.tiff")


def test_16_bits_are_scaled_and_wider_numbers_refused(tmp_path: Path) -> None:
    wide = Image.fromarray(np.full((8, 8), 257 * 99, np.uint16))
    found = open_source(str(image_folder(tmp_path, wide))).split(SHAPE)
    pixels = np.concatenate([found.train.pixels, found.test.pixels])
    assert 99 in pixels[:, 0, 0, 0]
    Image.fromarray(np.full((8, 8), 70000, np.int32)).save(tmp_path / "a" / "odd.tiff")
    with pytest.raises(UserError, match="is 70000"):
        open_source(str(tmp_path)).split(SHAPE)
