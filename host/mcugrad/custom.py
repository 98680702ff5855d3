"""One's own float network -> the int8 file that every command takes as a model."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mcugrad.config import Job
from mcugrad.errors import UsageError, UserError
from mcugrad.frontend import store
from mcugrad.sources import of_job

_CALIBRATE = 256  # images; more moved no scale of our networks by 1 %


def import_network(network: str, job: Job, size: str, out: Path) -> Path:
    """Quantise what `FILE.py:function` returns, a trained torch module, with samples of the job at HxWxC.

    The file is run: give only your own.
    """
    height, width, channels = _shape(size)
    model = _maker(network)()
    split = of_job(job).split((height, width, channels))
    store.save(_from_torch()(model, split.train.some(_CALIBRATE, 0).pixels, out.stem), out)
    return out


def _from_torch() -> Callable[..., Any]:
    try:
        from mcugrad.frontend.from_torch import from_torch
    except ModuleNotFoundError:
        raise UserError("torch is not installed", "import torch", "pip install 'mcugrad[compile]'") from None
    return from_torch


def _shape(size: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([13])", size)
    if not match:
        raise UsageError(
            f"'{size}' is not an image size", "--size", "write height x width x channels: 96x96x3"
        )
    return int(match[1]), int(match[2]), int(match[3])


def _maker(network: str) -> Callable[[], Any]:
    path, _, name = network.rpartition(":")
    if not path or not Path(path).is_file():
        raise UsageError(f"no file of that name: '{path or network}'", "NETWORK", "write FILE.py:function")
    maker = getattr(_module(Path(path)), name, None)
    if not callable(maker):
        what = f"{path} has no function '{name}'"
        raise UserError(what, "NETWORK", "give one that returns the trained torch.nn.Module")
    return maker  # type: ignore[no-any-return]


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError("not a Python file", str(path), "write FILE.py:function")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(
            f"the file does not run ({error!r})", str(path), "mend it: python " + str(path)
        ) from None
    return module
