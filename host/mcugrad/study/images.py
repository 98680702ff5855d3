"""Images of a case past its frozen front, which is run once for each image and kept on disk."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.paths import BUILD
from mcugrad.sources import Samples, Split, open_source
from mcugrad.sources.image import Shape, codes
from mcugrad.twin.batches import cached

FRONTS = BUILD / "fronts"


@dataclass(frozen=True)
class Part:
    """Samples past the frozen front: inputs of the rest by name [N,...], labels [N].

    With flips the inputs are [2N,...]: the mirrored images follow the others.
    """

    inputs: Mapping[str, Array]
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Array) -> tuple[dict[str, Array], Array]:
        """Rows of the inputs, and their labels [n]."""
        return {name: data[index] for name, data in self.inputs.items()}, self.labels[index % len(self)]


@lru_cache(maxsize=2)
def images(source: str, shape: Shape, judge: str) -> Split:
    """Training and judging images; for "validation" the latter are every fifth of the training images."""
    split = open_source(source).split(shape)
    if judge == "test":
        return split
    fifth = validating(len(split.train))
    train, held = (Samples(split.train.pixels[m], split.train.labels[m]) for m in (~fifth, fifth))
    return Split(train, held, split.classes)


def validating(count: int) -> Array:
    """Which of the training images judge instead: every fifth; bool [count]."""
    fifth: Array = np.arange(count) % 5 == 4
    return fifth


def past_front(front: Graph, samples: Samples, flip: bool) -> Part:
    """What the rest of the network needs of the samples."""
    if not front.nodes:
        (name,) = front.outputs
        return Part({name: _codes(samples, flip)}, samples.labels)
    crossing, seen = zlib.crc32(",".join(front.outputs).encode()), zlib.crc32(samples.pixels.tobytes())
    path = FRONTS / f"{front.name}-{len(front.nodes)}-{crossing:08x}-{seen:08x}{'-flips' * flip}.npz"
    if not path.is_file():
        _store(path, cached(front, _codes(samples, flip)))
    with np.load(path) as file:
        return Part(dict(file), samples.labels)


def _codes(samples: Samples, flip: bool) -> Array:
    pixels = samples.pixels
    return codes(np.concatenate([pixels, pixels[:, :, ::-1]]) if flip else pixels)


def _store(path: Path, arrays: Mapping[str, Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{np.random.default_rng().integers(1 << 32)}.npz")
    np.savez(half, allow_pickle=False, **arrays)
    half.replace(path)
