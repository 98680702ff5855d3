"""Datasets and folders -> samples at the model's size, the same ones every time; bad ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcugrad.errors import UserError
from mcugrad.sources import Samples, Split, open_source
from mcugrad.sources.image import all_fitted, codes, fitted
from mcugrad.sources.source import checked


def folder(root: Path, counts: dict[str, int], size: tuple[int, int] = (40, 30)) -> Path:
    rng = np.random.default_rng(1)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:03}.png")
    return root


def test_a_folder_is_split_by_class_and_the_same_every_time(tmp_path: Path) -> None:
    path = folder(tmp_path, {"cat": 10, "dog": 20})
    one, two = (open_source(str(path), seed=3).split((16, 16, 3)) for _ in range(2))
    assert one.classes == ("cat", "dog")
    assert (len(one.train), len(one.test)) == (24, 6)
    assert sorted(one.test.labels) == [0, 0, 1, 1, 1, 1]
    assert (one.train.pixels == two.train.pixels).all()
    assert (one.train.pixels != open_source(str(path), seed=4).split((16, 16, 3)).train.pixels).any()


def test_no_image_is_in_both_parts(tmp_path: Path) -> None:
    split = open_source(str(folder(tmp_path, {"a": 9, "b": 9}, (16, 16)))).split((16, 16, 3))
    train, test = ({x.tobytes() for x in part.pixels} for part in (split.train, split.test))
    assert not train & test
    assert len(train | test) == 18


def test_a_new_class_leaves_the_split_of_the_others_alone(tmp_path: Path) -> None:
    path = folder(tmp_path, {"a": 9, "b": 9}, (16, 16))
    before = open_source(str(path)).split((16, 16, 3))
    folder(tmp_path, {"c": 5}, (16, 16))
    after = open_source(str(path)).split((16, 16, 3))
    assert (after.test.pixels[: len(before.test)] == before.test.pixels).all()


def test_samples_are_what_the_board_takes() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x, label = Samples(pixels, np.array([7]))[0]
    assert x.dtype == np.int8
    assert label == 7
    assert (x.reshape(-1) == np.arange(256) - 128).all()
    assert (codes(pixels).astype(int) + 128 == pixels).all()


@pytest.mark.parametrize(("shape", "out"), [((8, 8, 1), (16, 16, 3)), ((50, 20, 3), (16, 16, 1))])
def test_any_size_and_colour_fits(shape: tuple[int, int, int], out: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    assert all_fitted(images, out).shape == (3, *out)


def test_the_right_shape_is_passed_through_untouched() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    assert all_fitted(images, (8, 8, 1)) is images


def test_the_middle_is_kept_in_proportion() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert (fitted(Image.fromarray(wide), (10, 10, 3)) == 255).all()


def test_some_samples_are_drawn_by_the_seed() -> None:
    all_ = Samples(np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1), np.arange(50))
    assert len(all_.some(10, 1)) == 10
    assert (all_.some(10, 1).labels == all_.some(10, 1).labels).all()
    assert (all_.some(10, 1).labels != all_.some(10, 2).labels).any()
    assert all_.some(0, 1) is all_


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, {"a": 5, "b": 5})
    (path / "b" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    with pytest.raises(UserError, match="unreadable image") as error:
        open_source(str(path)).split((8, 8, 3))
    assert error.value.where.endswith("broken.jpg")


def test_a_cut_off_image_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, {"a": 5, "b": 5})
    whole = (path / "a" / "000.png").read_bytes()
    (path / "a" / "000.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="unreadable image"):
        open_source(str(path)).split((8, 8, 3))


@pytest.mark.parametrize("counts", [{"only": 5}, {}, {"a": 0, "b": 3}])
def test_a_folder_needs_two_classes(tmp_path: Path, counts: dict[str, int]) -> None:
    with pytest.raises(UserError) as error:
        open_source(str(folder(tmp_path, counts)))
    assert "one sub-folder per class" in error.value.fix


def test_an_unknown_name_lists_what_is_known() -> None:
    with pytest.raises(UserError, match="no dataset named 'nope'"):
        open_source("nope")


@pytest.mark.parametrize("labels", [[0, 2], [-1, 0]])
def test_labels_out_of_range_are_refused(labels: list[int]) -> None:
    samples = Samples(np.zeros((2, 1, 1, 1), np.uint8), np.array(labels))
    with pytest.raises(UserError, match=r"label (2|-1) among the training images, 2 classes"):
        checked(Split(samples, samples, ("a", "b")), "here")


def test_a_dataset_by_name() -> None:
    pytest.importorskip("sklearn")
    split = open_source("digits").split((8, 8, 1))
    assert len(split.train) > len(split.test) > 100
    assert len(split.classes) == 10
