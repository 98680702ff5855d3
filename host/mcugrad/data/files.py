"""A registered file -> its path on this machine: MCUGRAD_DATA, then the cache, then its public address."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

from mcugrad.data.registry import EMBEDDED, MODELS, Entry
from mcugrad.errors import UserError
from mcugrad.paths import PACKAGE

TIMEOUT_S = 30
_LIMIT = 1 << 30


def model_path(name: str) -> Path:
    """The model's file, verified; UserError if the name is unknown or the file is nowhere to be had."""
    if name in EMBEDDED:
        return PACKAGE / EMBEDDED[name]
    if name not in MODELS:
        known = ", ".join([*EMBEDDED, *MODELS])
        raise UserError(f"no model named '{name}'", "--model", f"use one of {known}, or a .safetensors file")
    return locate(MODELS[name])


def locate(entry: Entry) -> Path:
    """The file's path, content verified by sha256; downloaded into the cache if need be."""
    for folder in _folders():
        path = folder / entry.file
        if path.is_file():
            return _verified(path, entry)
    if not entry.url:
        fix = f"set MCUGRAD_DATA to a folder that holds {entry.file} ({entry.source})"
        raise UserError(f"{entry.file} is not on this machine", "MCUGRAD_DATA and the cache", fix)
    return _download(entry, cache() / entry.file)


def cache() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/mcugrad, by default ~/.cache/mcugrad."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcugrad"


def _folders() -> list[Path]:
    given = os.environ.get("MCUGRAD_DATA")
    if given and not Path(given).is_dir():
        raise UserError(f"'{given}' is not a folder", "MCUGRAD_DATA", "name the data folder or unset it")
    return [*([Path(given)] if given else []), cache()]


def _verified(path: Path, entry: Entry) -> Path:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry.sha256:
        what = f"{path.name} is not the expected file (sha256 {found[:16]}..., not {entry.sha256[:16]}...)"
        raise UserError(what, str(path), "delete it and fetch it again")
    return path


def _download(entry: Entry, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(entry.url, timeout=TIMEOUT_S) as reply:
            partial.write_bytes(reply.read(_LIMIT))
        # Renamed only once whole and verified: a broken download never looks like a file.
        return _verified(partial, entry).rename(path)
    except OSError as error:
        fix = f"go online, or set MCUGRAD_DATA to a folder that holds {entry.file}"
        raise UserError(f"cannot download {path.name} ({error})", entry.url, fix) from None
    finally:
        partial.unlink(missing_ok=True)
