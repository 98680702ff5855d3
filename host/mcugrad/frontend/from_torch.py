"""A float PyTorch network of the inverted-residual family and calibration images -> int8 Graph.

The only module that imports torch besides what trains on the host.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional as fn

from mcugrad.errors import UserError
from mcugrad.frontend.emit import PIXELS
from mcugrad.frontend.quantise import (
    INPUT,
    FloatAdd,
    FloatConv,
    FloatLayer,
    FloatLinear,
    FloatNet,
    FloatPool,
    Floats,
    Observer,
    fold,
    quantise,
)
from mcugrad.ir.graph import Graph, Quant

SUPPORTED = (
    "Conv2d (groups 1 or depthwise, dilation 1, zero padding), BatchNorm2d, ReLU and ReLU6 after a "
    "convolution, add, global average pool, flatten, Dropout, Identity, one Linear at the end"
)
_BATCH = 32
_MODULES: dict[type[nn.Module], str] = {
    **{nn.Conv2d: "conv", nn.BatchNorm2d: "norm", nn.ReLU: "relu", nn.ReLU6: "relu6"},
    **{nn.AdaptiveAvgPool2d: "pool", nn.Flatten: "flatten", nn.Linear: "linear"},
    **{nn.Dropout: "same", nn.Dropout2d: "same", nn.Identity: "same"},
}
_FUNCTIONS: dict[Callable[..., Any], str] = {
    **{operator.add: "add", operator.iadd: "add", torch.add: "add", fn.relu: "relu", torch.relu: "relu"},
    **{fn.relu6: "relu6", fn.adaptive_avg_pool2d: "pool", torch.mean: "pool", torch.flatten: "flatten"},
    **{fn.dropout: "same", getattr: "shape", operator.getitem: "shape"},
}
_METHODS = {
    **{"add": "add", "add_": "add", "relu": "relu", "relu_": "relu", "mean": "pool"},
    **{"flatten": "flatten", "view": "flatten", "reshape": "flatten", "size": "shape"},
}


def from_torch(
    model: nn.Module,
    images: NDArray[np.uint8],
    name: str,
    pixels: Quant = PIXELS,
    share: float = 0.9999,
) -> Graph:
    """Quantise `model` (float, trained) with calibration `images` [N,H,W,C] as the board will see them.

    `pixels` says what the network is fed: scale * (pixel - 128 - zero); the default is -1..1.
    `share` of each layer's values sets its range (1.0: minimum and maximum). Layers keep the module's names.
    UserError names an op or a layer that is not supported, or a tensor that holds NaN or infinity.
    """
    model = model.eval()
    _check_finite(model)
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:
        fix = "write forward() without branches on values"
        raise UserError(f"the network cannot be traced ({error})", type(model).__name__, fix) from None
    walk = _Walk(traced)
    net = FloatNet(name, _shape(images), pixels, walk.layers)
    return quantise(net, _observe(walk, images, pixels, share))


def _check_finite(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            what = f"{bad} of {tensor.numel()} values are not finite"
            raise UserError(what, f"tensor {name}", "train the network again, or load weights from before")


class _Walk:
    """Reads the traced nodes in order; `at` maps each to the layer whose output it is, `ends` the reverse."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced = traced
        self.layers: list[FloatLayer] = []
        self.at: dict[fx.Node, str] = {}
        for node in traced.graph.nodes:
            getattr(self, f"_{_kind(traced, node)}")(node)
        self.ends = {layer: node for node, layer in self.at.items()}

    def _input(self, node: fx.Node) -> None:
        if INPUT in self.at.values():
            raise UserError("a second input", f"argument {node.target}", "give the network one image")
        self.at[node] = INPUT

    def _output(self, node: fx.Node) -> None:
        last = self.at.get(node.args[0]) if isinstance(node.args[0], fx.Node) else None
        if not self.layers or last != self.layers[-1].layer or not isinstance(self.layers[-1], FloatLinear):
            raise UserError(
                "the network does not end in a Linear layer", "its output", f"supported: {SUPPORTED}"
            )

    def _conv(self, node: fx.Node) -> None:
        module = self._module(node)
        assert isinstance(module, nn.Conv2d)
        stride, pad, depthwise = _geometry(module, str(node.target))
        weight = _float(module.weight).transpose(0, 2, 3, 1)
        bias = np.zeros(len(weight)) if module.bias is None else _float(module.bias)
        x = self._source(node, image=True)
        self._append(node, FloatConv(str(node.target), x, weight, bias, stride, pad, depthwise))

    def _norm(self, node: fx.Node) -> None:
        module = self._module(node)
        assert isinstance(module, nn.BatchNorm2d)
        conv = self._conv_before(node, "BatchNorm2d")
        if module.running_mean is None or module.running_var is None:
            raise UserError("BatchNorm2d without running statistics", f"layer {node.target}", "track them")
        mean, deviation = _float(module.running_mean), np.sqrt(_float(module.running_var) + module.eps)
        gain = np.ones_like(mean) if module.weight is None else _float(module.weight)
        offset = np.zeros_like(mean) if module.bias is None else _float(module.bias)
        self._replace(node, conv, fold(conv, gain, offset, mean, deviation))

    def _relu(self, node: fx.Node) -> None:
        conv = self._conv_before(node, "ReLU")
        self._replace(node, conv, replace(conv, act="relu"))

    def _relu6(self, node: fx.Node) -> None:
        conv = self._conv_before(node, "ReLU6")
        self._replace(node, conv, replace(conv, act="relu6"))

    def _add(self, node: fx.Node) -> None:
        sources = [a for a in node.args if isinstance(a, fx.Node)]
        if len(sources) != 2 or node.kwargs:
            raise _unsupported(node, "an add of something that is not a layer's output")
        left, right = (self._layer(source, node, image=True) for source in sources)
        self._append(node, FloatAdd(self._own_name(node, "add"), left, right))

    def _pool(self, node: fx.Node) -> None:
        if not _is_global(self.traced, node):
            raise _unsupported(node, "a pool that is not a global average")
        x = self._source(node, image=True)
        name = str(node.target) if node.op == "call_module" else self._own_name(node, "pool")
        self._append(node, FloatPool(name, x))

    def _flatten(self, node: fx.Node) -> None:
        self.at[node] = self._source(node, image=False)

    def _same(self, node: fx.Node) -> None:
        self.at[node] = self._layer(node.all_input_nodes[0], node, image=None)

    def _shape(self, node: fx.Node) -> None:
        """x.size(0) and x.shape[0], as a flattening view spells the batch: no layer."""

    def _linear(self, node: fx.Node) -> None:
        module = self._module(node)
        assert isinstance(module, nn.Linear)
        weight = _float(module.weight)
        bias = np.zeros(len(weight)) if module.bias is None else _float(module.bias)
        self._append(node, FloatLinear(str(node.target), self._source(node, image=False), weight, bias))

    def _append(self, node: fx.Node, layer: FloatLayer) -> None:
        if any(old.layer == layer.layer for old in self.layers):
            raise UserError("a layer used twice", f"layer {layer.layer}", "give each use a module of its own")
        self.layers.append(layer)
        self.at[node] = layer.layer

    def _replace(self, node: fx.Node, old: FloatConv, new: FloatConv) -> None:
        self.layers[self.layers.index(old)] = new
        self.at[node] = new.layer

    def _module(self, node: fx.Node) -> nn.Module:
        return self.traced.get_submodule(str(node.target))

    def _source(self, node: fx.Node, image: bool) -> str:
        return self._layer(node.all_input_nodes[0], node, image)

    def _layer(self, source: fx.Node, user: fx.Node, image: bool | None) -> str:
        name = self.at.get(source)
        if name is None:
            raise _unsupported(user, "a shape where a layer's output is needed")
        layer = next((o for o in self.layers if o.layer == name), None)
        if isinstance(layer, FloatLinear):
            raise _unsupported(user, "a layer after the Linear one")
        if image is not None and image == isinstance(layer, FloatPool):
            raise _unsupported(user, "a map where a pooled vector is needed, or the reverse")
        return name

    def _conv_before(self, node: fx.Node, what: str) -> FloatConv:
        source = node.all_input_nodes[0]
        name = self._layer(source, node, image=True)
        conv = next((o for o in self.layers if o.layer == name), None)
        if not isinstance(conv, FloatConv) or conv.act or len(source.users) != 1:
            raise _unsupported(node, f"{what} that is not the one reader of a convolution")
        return conv

    def _own_name(self, node: fx.Node, what: str) -> str:
        stack = node.meta.get("nn_module_stack") or {}
        scope = next(reversed(stack), "")
        name = f"{scope}.{what}" if scope else what
        return f"{name}{len(self.layers)}" if any(o.layer == name for o in self.layers) else name


class _Watch(fx.Interpreter):
    """Runs the network and shows each layer's output to its observer."""

    def __init__(self, walk: _Walk, share: float) -> None:
        super().__init__(walk.traced)
        self.observers = {node: Observer(share) for node in walk.ends.values()}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.observers:
            self.observers[n].see(result.numpy())
        return result


def _observe(
    walk: _Walk, images: NDArray[np.uint8], pixels: Quant, share: float
) -> dict[str, tuple[float, float]]:
    watch = _Watch(walk, share)
    real = (images.astype(np.float32) - (128 + pixels.zero)) * np.float32(pixels.scale)
    with torch.no_grad():
        for batch in torch.from_numpy(real.transpose(0, 3, 1, 2)).split(_BATCH):  # type: ignore[no-untyped-call]
            try:
                watch.run(batch)
            except RuntimeError as error:
                where = f"calibration images of {images.shape[1:]}"
                fix = "give images of the size the network was made for"
                raise UserError(f"the network does not run on them ({error})", where, fix) from None
    return {layer: watch.observers[node].range() for layer, node in walk.ends.items()}


def _shape(images: NDArray[np.uint8]) -> tuple[int, int, int]:
    if images.ndim != 4 or not len(images) or images.dtype != np.uint8:
        what = f"{images.dtype} of shape {images.shape}"
        raise UserError(what, "the calibration images", "give uint8 [N,H,W,C] with at least one image")
    height, width, channels = images.shape[1:]
    return height, width, channels


def _kind(traced: fx.GraphModule, node: fx.Node) -> str:
    if node.op in ("placeholder", "output"):
        return {"placeholder": "input", "output": "output"}[node.op]
    kind = None
    if node.op == "call_module":
        kind = _MODULES.get(type(traced.get_submodule(str(node.target))))
    elif node.op == "call_function" and callable(node.target):
        kind = _FUNCTIONS.get(node.target)
    elif node.op == "call_method":
        kind = _METHODS.get(str(node.target))
    if kind is None:
        raise _unsupported(node, _op_name(traced, node))
    return kind


def _op_name(traced: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target))).__name__
    return getattr(node.target, "__name__", str(node.target))


def _unsupported(node: fx.Node, what: str) -> UserError:
    layer = node.target if node.op == "call_module" else node.name
    return UserError(f"unsupported op: {what}", f"layer {layer}", f"supported: {SUPPORTED}")


def _geometry(conv: nn.Conv2d, layer: str) -> tuple[int, int, bool]:
    """Stride, padding, depthwise; UserError for what the conv ops cannot say."""
    depthwise = conv.groups > 1
    pads = {"same": [k // 2 for k in conv.kernel_size], "valid": [0, 0]}
    pad = pads[conv.padding] if isinstance(conv.padding, str) else list(conv.padding)
    wrong = [
        (conv.groups not in (1, conv.in_channels), f"groups={conv.groups}"),
        (depthwise and conv.out_channels != conv.in_channels, "a depthwise channel multiplier"),
        (set(conv.dilation) != {1}, f"dilation={conv.dilation}"),
        (len(set(conv.stride)) > 1 or len(set(pad)) > 1, "a stride or padding that differs by axis"),
        (conv.padding_mode != "zeros", f"padding_mode={conv.padding_mode}"),
        (conv.padding == "same" and any(k % 2 == 0 for k in conv.kernel_size), "'same' with an even kernel"),
    ]
    for found, what in wrong:
        if found:
            raise UserError(
                f"unsupported op: Conv2d with {what}", f"layer {layer}", f"supported: {SUPPORTED}"
            )
    return conv.stride[0], pad[0], depthwise


def _is_global(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return getattr(traced.get_submodule(str(node.target)), "output_size", None) in (1, (1, 1))
    given = [*node.args[1:2], *node.kwargs.values()][:1]
    if "mean" not in str(getattr(node.target, "__name__", node.target)):
        return given in ([1], [(1, 1)])
    dims = given[0] if given and isinstance(given[0], list | tuple) else ()
    return sorted(int(str(d)) % 4 for d in dims) == [2, 3]


def _float(tensor: torch.Tensor) -> Floats:
    return tensor.detach().cpu().numpy().astype(np.float64)
