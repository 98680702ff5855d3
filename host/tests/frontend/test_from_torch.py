"""A float torch network -> int8 Graph: same answers, same names, and unsupported parts named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from mcugrad.errors import UserError
from mcugrad.frontend.from_torch import from_torch
from mcugrad.frontend.pretrain import DigitsNet, real
from mcugrad.frontend.quantise import FloatConv, Observer, activation_quant
from mcugrad.ir.graph import Graph, Quant
from tests.models import as_input
from tests.reference import torch_reference

IMAGES = np.random.default_rng(5).integers(0, 256, (24, 12, 12, 3), np.uint8)


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and batch norm statistics, as if trained."""
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def logits(graph: Graph, images: np.ndarray[Any, Any]) -> Tensor:
    with torch.no_grad():
        runs = [torch_reference.forward(graph, x).values["logits"] for x in as_input(images)]
    return torch.stack(runs)


class Residual(nn.Module):
    """Every supported spelling: modules and functions, groups, strides, kernels, pads, a bias, an add."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.wide = nn.Conv2d(8, 16, 1)
        self.dw = nn.Conv2d(16, 16, 5, padding="same", groups=16, bias=False)
        self.dw_norm = nn.BatchNorm2d(16, affine=False)
        self.drop = nn.Dropout(0.2)
        self.narrow = nn.Conv2d(16, 8, 1)
        self.narrow_norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 12, 3, padding="valid")
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        start = self.stem(x)
        y = fn.relu(self.wide(start))
        y = self.drop(torch.relu(self.dw_norm(self.dw(y))))
        y = self.last(start + self.narrow_norm(self.narrow(y))).relu()
        y = torch.flatten(fn.adaptive_avg_pool2d(y, 1), 1)
        return self.head(y)


@pytest.mark.parametrize("seed", range(3))
def test_the_int8_graph_answers_like_the_float_network(seed: int) -> None:
    net = settled(Residual(), seed)
    graph = from_torch(net, IMAGES, "r", share=1.0)
    with torch.no_grad():
        expected = net(real(IMAGES)).double()
    found = logits(graph, IMAGES)
    centred = [t - t.mean(0) for t in (expected, found)]
    assert torch.cosine_similarity(expected.flatten(), found.flatten(), 0) > 0.999
    assert torch.cosine_similarity(centred[0].flatten(), centred[1].flatten(), 0) > 0.97


def test_layers_keep_the_module_s_names() -> None:
    graph = from_torch(settled(Residual()), IMAGES, "r")
    names = [(n.op, n.layer) for n in graph.nodes]
    assert names == [
        ("conv2d", "stem.0"),
        ("conv2d", "wide"),
        ("depthwise_conv2d", "dw"),
        ("conv2d", "narrow"),
        ("add", "add"),
        ("conv2d", "last"),
        ("avgpool", "pool"),
        ("linear", "head"),
    ]
    assert [n.attrs["pad"] for n in graph.nodes if "pad" in n.attrs] == [1, 0, 2, 0, 0]
    assert [layer for _, layer in names[:1]] == ["stem.0"] and graph.inputs[0].shape == (12, 12, 3)


def test_the_default_s_network_has_the_contract_s_names() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
    graph = from_torch(settled(DigitsNet()), images, "digits-tiny")
    layers = [n.layer for n in graph.nodes]
    assert layers[:4] == ["conv0", "b0.dw", "b0.pw2", "b0.add"] and layers[-2:] == ["pool", "head"]
    assert "b2.add" in layers and "b5.pw1" in layers


def conv(act: str) -> FloatConv:
    return FloatConv("c", "x", np.ones((1, 1, 1, 1)), np.zeros(1), 1, 0, False, act)


@pytest.mark.parametrize(
    ("act", "observed", "low", "high"),
    [
        ("relu6", (0.0, 9.0), 0, 6),
        ("relu6", (0.0, 3.0), 0, 3),
        ("relu", (0.0, 9.0), 0, 9),
        ("", (1.0, 3.0), 0, 3),
    ],
)
def test_activations_clamp_by_their_range(
    act: str, observed: tuple[float, float], low: float, high: float
) -> None:
    quant = activation_quant(conv(act), observed)
    assert (-128 - quant.zero) * quant.scale == pytest.approx(low)
    assert (127 - quant.zero) * quant.scale == pytest.approx(high)


def test_zero_is_exact_in_every_range() -> None:
    quant = activation_quant(conv(""), (-1.0, 2.0))
    assert isinstance(quant.zero, int) and quant.scale == pytest.approx(3 / 255)
    assert activation_quant(conv(""), (0.0, 0.0)) == Quant(1 / 255, -128)


def test_observers() -> None:
    values = np.append(np.linspace(-1, 1, 9999), 1000.0)
    ends, most = Observer(1.0), Observer(0.999)
    for observer in (ends, most):
        for part in np.array_split(values, 7):
            observer.see(part)
    assert ends.range() == (-1.0, 1000.0)
    assert most.range()[1] < 1.01
    with pytest.raises(UserError):
        Observer(0.3)


def test_a_silent_channel_is_dead() -> None:
    net = settled(Residual())
    assert isinstance(net.last, nn.Conv2d)
    with torch.no_grad():
        net.last.weight[3] = 0
    node = next(n for n in from_torch(net, IMAGES, "r").nodes if n.layer == "last")
    assert node.attrs["dead"] == (3,)


def with_head(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


@pytest.mark.parametrize(
    "flat",
    [
        lambda x: x.view(x.size(0), -1),
        lambda x: x.reshape(x.shape[0], -1),
        lambda x: torch.flatten(x, 1),
        lambda x: x.flatten(1),
    ],
)
def test_ways_to_flatten(flat: Callable[[Tensor], Tensor]) -> None:
    graph = from_torch(Function(lambda x: x, lambda x: flat(fn.adaptive_avg_pool2d(x, (1, 1)))), IMAGES, "n")
    assert [n.layer for n in graph.nodes] == ["c", "pool", "head"]


class Function(nn.Module):
    """conv -> the given function -> pool -> head."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        pool: Callable[[Tensor], Tensor] = lambda x: x.mean((2, 3)),
    ) -> None:
        super().__init__()
        self.c, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3, 2)
        self.function, self.pool = function, pool

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.function(self.c(x))))


class Shared(Function):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.c(x)).mean((2, 3)))


class TwoReaders(Function):
    def forward(self, x: Tensor) -> Tensor:
        y = self.c(x)
        return self.head((fn.relu(y) + y).mean((2, 3)))


class Branch(Function):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(x).mean((2, 3))) if x.sum() > 0 else x


class TwoInputs(Function):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.c(x + y).mean((2, 3)))


@pytest.mark.parametrize(
    ("net", "what", "where"),
    [
        (with_head(nn.Conv2d(3, 3, 1), nn.Hardswish()), "Hardswish", "layer 1"),
        (with_head(nn.Conv2d(3, 3, 1), nn.MaxPool2d(2)), "MaxPool2d", "layer 1"),
        (with_head(nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 3, 1)), "channel multiplier", "layer 0"),
        (with_head(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2)), "groups=2", "layer 1"),
        (with_head(nn.Conv2d(3, 3, 3, dilation=2)), "dilation", "layer 0"),
        (with_head(nn.Conv2d(3, 3, 3, stride=(1, 2))), "differs by axis", "layer 0"),
        (with_head(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")), "padding_mode=reflect", "layer 0"),
        (with_head(nn.Conv2d(3, 3, 2, padding="same")), "even kernel", "layer 0"),
        (with_head(nn.ReLU()), "ReLU that is not", "layer 0"),
        (with_head(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)), "BatchNorm2d that is not", "layer 2"),
        (
            with_head(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
            "running statistics",
            "layer 1",
        ),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(2)), "not a global average", "layer 1"),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten()), "map where a pooled", "layer 1"),
        (nn.Sequential(nn.Conv2d(3, 3, 1)), "does not end in a Linear", "output"),
        (nn.Sequential(with_head(), nn.Linear(2, 2)), "after the Linear one", "layer 1"),
        (Function(torch.sigmoid), "sigmoid", "layer sigmoid"),
        (Function(lambda x: x + 1), "not a layer's output", "layer add"),
        (Function(lambda x: x + x.size(0)), "a shape where", "layer add"),
        (Function(lambda x: x.mean(1, keepdim=True)), "not a global average", "layer mean"),
        (Shared(fn.relu), "used twice", "layer c"),
        (TwoReaders(fn.relu), "not the one reader", "layer relu"),
        (Branch(fn.relu), "cannot be traced", "Branch"),
        (TwoInputs(fn.relu), "second input", "argument y"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_supported_is_named(net: nn.Module, what: str, where: str) -> None:
    with pytest.raises(UserError, match=what) as error:
        from_torch(net, IMAGES, "n")
    assert where in error.value.where
    assert error.value.fix


@pytest.mark.parametrize("images", [IMAGES[:0], IMAGES[0], IMAGES.astype(np.float32), IMAGES[..., :1]])
def test_wrong_calibration_images(images: np.ndarray[Any, Any]) -> None:
    with pytest.raises(UserError, match="calibration images"):
        from_torch(with_head(nn.Conv2d(3, 3, 1)), images, "n")


def test_a_network_that_puts_out_no_numbers() -> None:
    net = with_head(nn.Conv2d(3, 3, 1))
    with torch.no_grad():
        net[0].weight.fill_(3e38)  # type: ignore[index]
    with pytest.raises(UserError, match="its output is not finite") as error:
        from_torch(net, np.full((1, 8, 8, 3), 255, np.uint8), "n")
    assert error.value.where == "layer 0"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_named(bad: float) -> None:
    net = with_head(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    name, tensor = next((n, t) for n, t in net.state_dict().items() if n.endswith("running_var"))
    tensor[1] = bad
    with pytest.raises(UserError, match="1 of 4 values are not finite") as error:
        from_torch(net, np.zeros((1, 8, 8, 3), np.uint8), "net")
    assert error.value.where == f"tensor {name}"
