"""The paper's pretrained int8 models (a torch archive of one plain pickle) -> Graph with a new classifier."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad.errors import UserError
from mcugrad.frontend import emit
from mcugrad.frontend.pickles import MAX_BYTES, read_plain
from mcugrad.ir.graph import Builder, DType, Graph, Quant

MODELS = ("mbv2-w0.35", "mcunet-5fps", "proxyless-w0.3")
_PARTS = {"pointwise1": "pw1", "depthwise": "dw", "pointwise2": "pw2"}


def from_paper(path: Path, classes: int | None, seed: int = 0) -> Graph:
    """The model in `path` (name = the file's stem), input int8 [128,128,3].

    `classes` gives a fresh fp32 head drawn from `seed`; None keeps the ImageNet one (1000 classes).
    Layers: conv0, b<i>.pw1, b<i>.dw, b<i>.pw2, b<i>.add, pool, head. UserError if the file is no such model.
    """
    model = _Record(_archived(path), path.name)
    first = model.record("first_conv")
    size = first.integer("in_shape")
    b = Builder(path.stem)
    x = b.input("x", DType.S8, (size, size, first.integer("in_channel")), _quant(first, "x"))
    x = _conv(b, x, first, "conv0")
    for i, block in enumerate(model.records("blocks")):
        x = _block(b, x, block, f"b{i}")
    quant = b.value(x).quant
    assert isinstance(quant, Quant)
    x = emit.avgpool(b, "pool", x, quant)
    return b.build(logits=_head(b, x, model.record("classifier"), classes, seed))


@dataclass(frozen=True)
class _Record:
    """A dict of the pickle with its path in the file; every access is checked."""

    data: Any
    where: str

    def get(self, key: str, kind: type | tuple[type, ...]) -> Any:
        value = self.data.get(key) if isinstance(self.data, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"no usable '{key}'", self.where, f"use one of {', '.join(MODELS)}")
        return value

    def integer(self, key: str) -> int:
        return int(self.get(key, int))

    def real(self, key: str) -> float:
        return float(self.get(key, (int, float)))

    def array(self, key: str, dims: int) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = self.get(key, np.ndarray)
        if array.ndim != dims or not array.size:
            raise UserError(f"'{key}' has shape {array.shape}", self.where, f"{dims} dimensions are expected")
        return array

    def record(self, key: str) -> _Record:
        return _Record(self.get(key, dict), f"{self.where}, {key}")

    def records(self, key: str) -> list[_Record]:
        return [_Record(item, f"{self.where}, {key}[{i}]") for i, item in enumerate(self.get(key, list))]

    def has(self, key: str) -> bool:
        return isinstance(self.data, Mapping) and self.data.get(key) is not None


def _archived(path: Path) -> Any:
    fix = f"use the original file of one of {', '.join(MODELS)}"
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(i for i in archive.infolist() if i.filename.endswith("/data.pkl"))
            if member.file_size > MAX_BYTES:
                raise UserError(f"the model unpacks to {member.file_size} bytes", str(path), fix)
            with archive.open(member) as stream:
                data = stream.read(MAX_BYTES)
    except (OSError, EOFError, RuntimeError, StopIteration, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"not a readable torch archive ({error})", str(path), fix) from None
    return read_plain(data, str(path))


def _block(b: Builder, x: str, block: _Record, name: str) -> str:
    if block.has("se"):
        raise UserError("squeeze-and-excite is not supported", f"{block.where}, se", "use a model without it")
    y = x
    for part, layer in _PARTS.items():
        if block.has(part):
            y = _conv(b, y, block.record(part), f"{name}.{layer}")
    if not block.has("residual"):
        return y
    return emit.add(b, f"{name}.add", x, y, _quant(block.record("residual"), "y"))


def _conv(b: Builder, x: str, conv: _Record, layer: str) -> str:
    params = conv.record("params")
    weight = params.array("weight", 4).transpose(0, 2, 3, 1)
    depthwise = conv.integer("groups") > 1
    if depthwise:
        weight = weight[..., 0].transpose(1, 2, 0)
    _check_conv(conv, b.value(x).quant)
    return emit.conv(
        b,
        x,
        emit.Conv(
            layer=layer,
            weight=weight,
            bias=params.array("bias", 1),
            w_scale=params.array("w_scales", 1),
            stride=conv.integer("stride"),
            pad=(params.array("weight", 4).shape[2] - 1) // 2,
            out=_quant(conv, "y"),
            depthwise=depthwise,
        ),
    )


def _check_conv(conv: _Record, source: object) -> None:
    params = conv.record("params")
    for key in ("bias", "w_scales"):
        if len(params.array(key, 1)) != len(params.array("weight", 4)):
            raise UserError(f"'{key}' is not one a channel", params.where, "fetch the file again")
    scales = params.array("w_scales", 1)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise UserError("a weight scale that is not a positive number", params.where, "fetch the file again")
    if _quant(conv, "x") != source:
        raise UserError("its input scale is not its producer's", params.where, "fetch the file again")


def _quant(layer: _Record, side: str) -> Quant:
    params = layer.record("params")
    scale, zero = params.real(f"{side}_scale"), params.integer(f"{side}_zero")
    if not 0 < scale < np.inf or not -128 <= zero <= 127:
        raise UserError(f"scale {scale}, zero point {zero}", params.where, "fetch the file again")
    return Quant(scale, zero)


def _head(b: Builder, x: str, classifier: _Record, classes: int | None, seed: int) -> str:
    if classes is not None:
        weight, bias = emit.fresh_head(classes, b.value(x).size, seed)
        return emit.linear(b, "head", x, weight, bias)
    params = classifier.record("params")
    scale = params.array("w_scales", 1).astype(np.float64)
    kernel = params.array("weight", 4)[:, :, 0, 0] * scale[:, None]
    return emit.linear(b, "head", x, kernel, params.array("bias", 1) * scale * params.real("x_scale"))
