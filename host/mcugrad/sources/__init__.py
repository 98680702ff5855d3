"""Where samples come from: a named dataset or a folder of images."""

from pathlib import Path

from mcugrad.sources.dataset import NamedSource
from mcugrad.sources.folder import FolderSource
from mcugrad.sources.source import Samples, Source, Split

__all__ = ["Samples", "Source", "Split", "open_source"]


def open_source(text: str, seed: int = 0) -> Source:
    """A folder if there is one of that name, else a dataset by name; UserError if it is neither."""
    return FolderSource(Path(text), seed) if Path(text).is_dir() else NamedSource(text)
