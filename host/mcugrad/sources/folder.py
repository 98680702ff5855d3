"""One's own images as a source: a folder with one sub-folder per class."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mcugrad.errors import UserError
from mcugrad.sources.image import Pixels, Shape, fitted, mode
from mcugrad.sources.source import Samples, Split, checked

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
_HELD_OUT = 5  # every class gives a fifth of its images, by the seed
_LAYOUT = "put the images into one sub-folder per class: DIR/cat/1.jpg, DIR/dog/1.jpg"

Labelled = list[tuple[Path, int]]


class FolderSource:
    """Classes are the sub-folders by name, in alphabetical order."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.name, self._folder, self._seed = folder.resolve().name, folder, seed
        found = {d.name: _images(d) for d in sorted(folder.iterdir()) if d.is_dir() and d.name[0] != "."}
        self._files = {name: files for name, files in found.items() if files}
        self.classes = tuple(self._files)
        if len(self.classes) < 2:
            what = (
                f"{len(self.classes)} sub-folder with images" if self.classes else "no sub-folder with images"
            )
            raise UserError(what, str(folder), _LAYOUT)

    def split(self, shape: Shape) -> Split:
        """Read all images; UserError names one that cannot be read, before anything is trained."""
        train: Labelled = []
        test: Labelled = []
        for label, name in enumerate(self.classes):
            files = self._shuffled(name)
            held = max(1, round(len(files) / _HELD_OUT)) if len(files) > 1 else 0
            test += [(f, label) for f in files[:held]]
            train += [(f, label) for f in files[held:]]
        return checked(Split(_read(train, shape), _read(test, shape), self.classes), str(self._folder))

    def _shuffled(self, name: str) -> Sequence[Path]:
        files = list(self._files[name])
        # Seeded by text: the same on every machine, and a new class leaves the others' split alone.
        random.Random(f"{self._seed}/{name}").shuffle(files)
        return files


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _read(files: Labelled, shape: Shape) -> Samples:
    mode(shape)
    pixels = np.empty((len(files), *shape), np.uint8)
    for i, (path, _) in enumerate(files):
        pixels[i] = _pixels(path, shape)
    return Samples(pixels, np.array([label for _, label in files], np.int64))


def _pixels(path: Path, shape: Shape) -> Pixels:
    try:
        with Image.open(path) as image:
            return fitted(image, shape)
    except UserError as error:
        raise UserError(error.what, str(path), error.fix) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"unreadable image ({error})", str(path), "mend or remove the file") from None
