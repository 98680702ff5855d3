"""Where samples come from: a named dataset, a folder of images, or arrays in a file."""

from pathlib import Path

from mcugrad.sources.arrays import ArraySource
from mcugrad.sources.dataset import NamedSource
from mcugrad.sources.folder import FolderSource
from mcugrad.sources.source import Samples, Source, Split

__all__ = ["Samples", "Source", "Split", "open_source"]


def open_source(text: str, seed: int = 0) -> Source:
    """A folder if there is one of that name, a .npz file, or a dataset by name; UserError if it is none."""
    if text.endswith(".npz"):
        return ArraySource(Path(text))
    return FolderSource(Path(text), seed) if Path(text).is_dir() else NamedSource(text)
