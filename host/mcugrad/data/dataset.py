"""A dataset's name -> images and labels as arrays."""

from __future__ import annotations

import importlib
import io
import itertools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcugrad.data.files import locate
from mcugrad.data.registry import DATASETS, Packaged
from mcugrad.errors import UserError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Images uint8 [N,H,W,C] (grey: C = 1), labels int64 [N] that index `classes`."""

    name: str
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    classes: tuple[str, ...]


def load(name: str) -> Dataset:
    """The named dataset; UserError if it is unknown, absent or damaged."""
    entry = DATASETS.get(name)
    if entry is None:
        fix = f"use one of {', '.join(DATASETS)}, or a folder with one subfolder per class"
        raise UserError(f"no dataset named '{name}'", "--data", fix)
    if isinstance(entry, Packaged):
        return _packaged(name, entry)
    return _from_npz(name, locate(entry))


def _from_npz(name: str, path: Path) -> Dataset:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            train, test = _part(file, "train"), _part(file, "test")
            return Dataset(name, *train, *test, tuple(str(c) for c in file["classes"]))
    except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"the dataset is damaged ({error})", str(path), "fetch the file again") from None


def _part(file: Any, part: str) -> tuple[Images, Labels]:
    labels = file[f"y_{part}"].astype(np.int64)
    if f"x_{part}" in file:
        return file[f"x_{part}"], labels
    raw, offsets = file[f"jpeg_{part}"], file[f"off_{part}"]
    images = [_decode(raw[a:b].tobytes()) for a, b in itertools.pairwise(offsets)]
    return np.stack(images) if images else np.empty((0, 128, 128, 3), np.uint8), labels


def _decode(jpeg: bytes) -> Images:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"), np.uint8)


def _packaged(name: str, entry: Packaged) -> Dataset:
    try:
        module = importlib.import_module(entry.module)
    except ImportError:
        where = f"the dataset '{name}'"
        raise UserError(f"{entry.module} is not installed", where, entry.install) from None
    return _PACKAGED[name](name, module)


def _digits(name: str, module: Any) -> Dataset:
    bunch = module.load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return _split_at(name, grey[..., None], bunch.target, 1198)


def _paper_digits(name: str, module: Any) -> Dataset:
    bunch = module.load_digits()
    return _split_at(name, _on_paper(bunch.images / 16)[..., None], bunch.target, 1198)


def _mnist5k(name: str, module: Any) -> Dataset:
    images, labels = module.mnist_data()
    x, y = images.reshape(-1, 28, 28, 1).astype(np.uint8), labels.astype(np.int64)
    test = np.arange(len(y)) % 5 == 4
    return Dataset(name, x[~test], y[~test], x[test], y[test], _TEN)


def _split_at(name: str, x: Images, y: Labels, first: int) -> Dataset:
    y = y.astype(np.int64)
    return Dataset(name, x[:first], y[:first], x[first:], y[first:], _TEN)


def _on_paper(ink: NDArray[np.float64]) -> Images:
    """Ink 0..1 [N,8,8] -> photographs [N,28,28]: own paper, pen, light and noise; always the same."""
    rng = np.random.default_rng(2211)
    count = len(ink)
    paper, pen = rng.uniform(170, 230, (count, 1, 1)), rng.uniform(20, 70, (count, 1, 1))
    slope = rng.uniform(-20, 20, (2, count, 1, 1))
    ramp = np.linspace(-1, 1, 28)
    light = paper + slope[0] * ramp[:, None] + slope[1] * ramp
    photo = light + (pen - light) * np.stack([_enlarge(i) for i in ink])
    noisy = photo + rng.normal(0, 4, photo.shape)
    image: Images = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return image


def _enlarge(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """[8,8] -> [28,28] with the margin that digits have in MNIST."""
    grid = Image.fromarray(ink.astype(np.float32)).resize((20, 20), Image.Resampling.BICUBIC)
    return np.pad(np.clip(np.asarray(grid, np.float64), 0, 1), 4)


_TEN = tuple("0123456789")
_PACKAGED = {"digits": _digits, "paper-digits": _paper_digits, "mnist5k": _mnist5k}
