"""One's own arrays as a source: a .npz file of images, labels and class names."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcugrad.errors import UserError
from mcugrad.sources.image import Pixels, Shape, all_fitted, as_bytes, mode
from mcugrad.sources.source import Samples, Split, checked

_LAYOUT = "numpy.savez(FILE, x_train=, y_train=, x_test=, y_test=, classes=[names])"
_NAMES = ("x_train", "y_train", "x_test", "y_test", "classes")


class ArraySource:
    """Pixels 0..255 of any number type [N,H,W] or [N,H,W,C], C 1 or 3; labels that index the class names.

    At the model's size there is nothing to convert, and any C will do.
    """

    live = False

    def __init__(self, path: Path) -> None:
        self.name, self._path, self._arrays = path.stem, path, _read(path)
        self.classes = tuple(str(name) for name in self._arrays["classes"].reshape(-1))

    def split(self, shape: Shape) -> Split:
        """Both parts at the model's size; UserError names the array and the place of what is wrong."""
        return checked(Split(self._part("train", shape), self._part("test", shape), self.classes), self._at())

    def _part(self, part: str, shape: Shape) -> Samples:
        x, y = self._arrays[f"x_{part}"], self._arrays[f"y_{part}"]
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise UserError(
                f"labels are {y.dtype}{list(y.shape)}", self._at(f"y_{part}"), "give integers [N]"
            )
        images = as_bytes(x, self._at(f"x_{part}"))
        if images.shape[1:] != shape:
            mode(shape)
            images = self._images(images, f"x_{part}")
        if len(images) != len(y):
            raise UserError(
                f"{len(images)} images, {len(y)} labels", self._at(part), "give one label an image"
            )
        return Samples(all_fitted(images, shape), y.astype(np.int64))

    def _images(self, x: Pixels, name: str) -> Pixels:
        images = x[..., None] if x.ndim == 3 else x
        if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:]:
            raise UserError(f"images of shape {list(x.shape)}", self._at(name), "give [N,H,W] or [N,H,W,3]")
        return images

    def _at(self, name: str = "") -> str:
        return f"{self._path}, {name}" if name else str(self._path)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in _NAMES if name not in file]
            if missing:
                raise UserError(f"no {', '.join(missing)}", str(path), f"write it with {_LAYOUT}")
            return {name: file[name] for name in _NAMES}
    except (OSError, EOFError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"unreadable arrays ({error})", str(path), f"write them with {_LAYOUT}") from None
