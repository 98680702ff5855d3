"""The text of `--data` -> a source. What a kind of source needs beyond numpy is loaded when one is opened."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from mcugrad.config import Job
from mcugrad.sources.arrays import ArraySource
from mcugrad.sources.dataset import NamedSource
from mcugrad.sources.declared import DeclaredSource
from mcugrad.sources.folder import IMAGES, FolderSource, holds
from mcugrad.sources.source import Source

# What stands before the colon -> module; its function `opened(rest, job)` gives the source.
KINDS = {"camera": "camera", "microphone": "microphone", "serial": "stream", "replay": "replay"}


def open_source(text: str, seed: int = 0, job: Job | None = None) -> Source:
    """A kind of KINDS, a .npz, .csv or folder, or a dataset by name; UserError if it is none.

    job: its sections capture, sensor and audio say how the samples are to be read.
    """
    job, (kind, colon, rest) = job or Job(), text.partition(":")
    if colon and kind in KINDS:
        return _opener(KINDS[kind])(rest, job)
    path = Path(text)
    if path.suffix == ".npz":
        return ArraySource(path)
    if path.suffix == ".csv":
        return _opener("table")(text, job)
    if not path.is_dir():
        return NamedSource(text)
    sound = import_module("mcugrad.sources.sound")
    if holds(path, sound.SUFFIXES) and not holds(path, IMAGES.suffixes):
        return FolderSource(path, seed, sound.sounds(job.audio))
    return FolderSource(path, seed)


def is_live(text: str) -> bool:
    """Whether `--data` is something that is captured, and so wants the terminal."""
    return text.partition(":")[0] in set(KINDS) - {"replay"} and ":" in text


def of_job(job: Job) -> DeclaredSource:
    """A job's source with what the job declares of its samples."""
    return DeclaredSource(open_source(job.data.source, job.data.seed, job), job)


def _opener(module: str) -> Callable[[str, Job], Source]:
    opened: Callable[[str, Job], Source] = import_module(f"mcugrad.sources.{module}").opened
    return opened
