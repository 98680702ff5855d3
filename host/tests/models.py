"""The paper's models for tests; a test that needs them is skipped where MCUGRAD_DATA does not hold them."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mcugrad.data import DATASETS, MODELS, load
from mcugrad.data.registry import Entry
from mcugrad.frontend.paper import from_paper
from mcugrad.ir.graph import Graph

PAPER = tuple(MODELS)


def data_file(name: str) -> Path:
    """A file of the data folder, or skip."""
    folder = os.environ.get("MCUGRAD_DATA")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"MCUGRAD_DATA does not hold {name}")
    return Path(folder) / name


def paper_file(name: str) -> Path:
    return data_file(MODELS[name].file)


@functools.cache
def _paper_model(name: str, classes: int | None) -> Graph:
    return from_paper(paper_file(name), classes)


def paper_model(name: str, classes: int | None = 10) -> Graph:
    """The model with a fresh head for `classes`, or with its own ImageNet head (None)."""
    paper_file(name)
    return _paper_model(name, classes)


@functools.cache
def _photos(name: str) -> NDArray[np.int8]:
    return as_input(load(name).x_test)


def photos(name: str) -> NDArray[np.int8]:
    """The test images of a dataset as network input."""
    entry = DATASETS[name]
    if isinstance(entry, Entry):
        data_file(entry.file)
    return _photos(name)


def as_input(images: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Pixels 0..255 -> int8 pixel - 128."""
    return (images.astype(np.int16) - 128).astype(np.int8)
