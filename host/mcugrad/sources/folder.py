"""One's own images, or other files, as a source: a folder with one sub-folder per class."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mcugrad.errors import UserError
from mcugrad.sources.image import Pixels, Shape, fitted, mode
from mcugrad.sources.source import Samples, Split, checked

HELD_OUT = 5  # every class gives a fifth of its samples to judge by
_LAYOUT = "put the {what} into one sub-folder per class: DIR/cat/1{suffix}, DIR/dog/1{suffix}"

Labelled = list[tuple[Path, int]]


@dataclass(frozen=True)
class Kind:
    """Files that are samples: `read` gives those of one, [n,H,W,C], or UserError."""

    what: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, Shape], Pixels]


class FolderSource:
    """Classes are the sub-folders by name, in alphabetical order. All samples of a file are in one part."""

    live = False

    def __init__(self, folder: Path, seed: int = 0, kind: Kind | None = None) -> None:
        self.name, self._folder, self._seed = folder.resolve().name, folder, seed
        self._kind = kind = kind or IMAGES
        found = {
            d.name: _files(d, kind.suffixes)
            for d in sorted(folder.iterdir())
            if d.is_dir() and d.name[0] != "."
        }
        self._files = {name: files for name, files in found.items() if files}
        self.classes = tuple(self._files)
        if len(self.classes) < 2:
            what = (
                f"{len(self.classes)} sub-folder with {kind.what}"
                if self.classes
                else f"no sub-folder with {kind.what}"
            )
            raise UserError(what, str(folder), _LAYOUT.format(what=kind.what, suffix=kind.suffixes[0]))

    def split(self, shape: Shape) -> Split:
        """Read all images; UserError names one that cannot be read, before anything is trained."""
        train: Labelled = []
        test: Labelled = []
        for label, name in enumerate(self.classes):
            files = self._shuffled(name)
            held = max(1, round(len(files) / HELD_OUT)) if len(files) > 1 else 0
            test += [(f, label) for f in files[:held]]
            train += [(f, label) for f in files[held:]]
        return checked(
            Split(self._read(train, shape), self._read(test, shape), self.classes), str(self._folder)
        )

    def _shuffled(self, name: str) -> Sequence[Path]:
        files = list(self._files[name])
        # Seeded by text: the same on every machine, and a new class leaves the others' split alone.
        random.Random(f"{self._seed}/{name}").shuffle(files)
        return files

    def _read(self, files: Labelled, shape: Shape) -> Samples:
        found = [(self._kind.read(path, shape), label) for path, label in files]
        pixels = np.concatenate([x for x, _ in found]) if found else np.empty((0, *shape), np.uint8)
        return Samples(
            pixels, np.repeat(np.array([y for _, y in found], np.int64), [len(x) for x, _ in found])
        )


def holds(folder: Path, suffixes: Sequence[str]) -> bool:
    """Whether there is a file of these in a sub-folder."""
    return any(_files(d, suffixes) for d in _classes(folder))


def _classes(folder: Path) -> Iterator[Path]:
    return (d for d in folder.iterdir() if d.is_dir() and d.name[0] != ".")


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())


def _pixels(path: Path, shape: Shape) -> Pixels:
    try:
        mode(shape)
        with Image.open(path) as image:
            return fitted(image, shape)[None]
    except UserError as error:
        raise UserError(error.what, str(path), error.fix) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"unreadable image ({error})", str(path), "mend or remove the file") from None


IMAGES = Kind(
    "images", (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"), _pixels
)
