"""The paper's models: their published shape, and the forward pass against an independent float64 one."""

from __future__ import annotations

import pickle
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mcugrad.errors import UserError
from mcugrad.frontend.paper import from_paper
from mcugrad.frontend.pickles import read_plain
from mcugrad.ir.graph import Graph
from mcugrad.passes.schemes import convolutions
from tests.models import PAPER, paper_file, paper_model, photos
from tests.reference import paper_float, torch_reference

# blocks, convolutions, parameters without head, MACs in millions, residual adds, features, dead channels
SHAPES = {
    "mbv2-w0.35": (17, 51, 244_448, 16.65, 10, 112, 0),
    "mcunet-5fps": (14, 42, 469_224, 22.45, 7, 160, 61),
    "proxyless-w0.3": (20, 60, 326_232, 18.62, 13, 96, 31),
}


def macs(graph: Graph) -> int:
    maps = ((graph.value(n.outs[0]).shape, graph.params[n.ins[1]].value.size) for n in convolutions(graph))
    return sum(shape[0] * shape[1] * weights for shape, weights in maps)


@pytest.mark.parametrize("name", PAPER)
def test_shape(name: str) -> None:
    graph = paper_model(name)
    convs = convolutions(graph)
    blocks, count, params, millions, adds, features, dead = SHAPES[name]
    found = sum(graph.params[p].value.size for n in convs for p in n.ins[1:3])
    assert len({n.layer.split(".")[0] for n in convs} - {"conv0"}) == blocks
    assert (len(convs), found, round(macs(graph) / 1e6, 2)) == (count, params, millions)
    assert Counter(n.op for n in graph.nodes)["add"] == adds
    assert graph.params["head.w"].value.shape == (10, features)
    assert sum(len(n.attrs["dead"]) for n in convs) == dead
    assert [n.attrs["index"] for n in convs] == list(range(count))


def pickled(name: str) -> Any:
    with zipfile.ZipFile(paper_file(name)) as archive:
        return read_plain(archive.read("archive/data.pkl"), name)


@pytest.mark.parametrize("name", PAPER)
def test_each_op_is_the_paper_s_up_to_rounding(name: str) -> None:
    """Fed the same activations, at most one step apart: convolutions in 1e-5 of places, adds in 1e-3."""
    graph, x = paper_model(name), photos("imagenet_1per")[0]
    with torch.no_grad():
        maps = paper_float.Run(pickled(name), x).outs
        run = torch_reference.Run(graph)
        run.values["x"] = torch.tensor(x.astype(np.float64))
        run.values |= {f"{k}.y": v.permute(1, 2, 0) if v.ndim == 3 else v for k, v in maps.items()}
        apart: dict[str, list[torch.Tensor]] = {}
        for node in graph.nodes[:-1]:
            step = torch_reference.apply(run, node) - run.values[node.outs[0]]
            apart.setdefault(node.op, []).append(step.abs().flatten())
    share = {op: torch.cat(steps) for op, steps in apart.items()}
    assert max(float(steps.max()) for steps in share.values()) <= 1
    assert float((torch.cat([share["conv2d"], share["depthwise_conv2d"]]) > 0).double().mean()) < 1e-5
    assert float((share["add"] > 0).double().mean()) < 1e-3


@pytest.mark.parametrize("name", PAPER)
def test_features_agree_end_to_end(name: str) -> None:
    graph = paper_model(name)
    zero = graph.nodes[-1].attrs["zero"]
    for x in photos("imagenet_1per")[::250]:
        with torch.no_grad():
            expected = paper_float.Run(pickled(name), x).outs["pool"] - zero
            found = torch_reference.forward(graph, x).values["pool.y"] - zero
        assert torch.cosine_similarity(expected, found, 0) > 0.99


@pytest.mark.parametrize("name", PAPER)
def test_gradients_agree_on_the_same_activations(name: str) -> None:
    """Every weight and bias of the network, by the graph's autograd and by the paper's, cosine > 0.9999."""
    graph, x = paper_model(name), photos("imagenet_1per")[333]
    nodes = {p: n for n in convolutions(graph) for p in n.ins[1:3]}
    given = torch_reference.forward(graph, x).values
    maps = {k[:-2]: v.detach() for k, v in given.items() if k.endswith(".y")}
    maps = {k: v.permute(2, 0, 1) if v.ndim == 3 else v for k, v in maps.items()}
    paper = paper_float.Run(pickled(name), x, maps)
    w, b = (torch.tensor(graph.params[f"head.{p}"].data).double() for p in "wb")
    a = graph.nodes[-1].attrs
    logits = w @ ((paper.outs["pool"] - a["zero"]) * a["scale"]) + b
    loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([3]))
    expected = torch.autograd.grad(loss, [paper.leaves[p] for p in nodes])
    found = torch_reference.gradients(graph, x, 3, nodes)
    for (param, node), gradient in zip(nodes.items(), expected, strict=True):
        live = [c for c in range(len(gradient)) if c not in node.attrs["dead"]]
        mine = torch.tensor(found[param])
        if param.endswith(".w"):
            mine = mine.permute(2, 0, 1)[:, None] if mine.ndim == 3 else mine.permute(0, 3, 1, 2)
        assert torch.cosine_similarity(gradient[live].flatten(), mine[live].flatten(), 0) > 0.9999, param


@pytest.mark.parametrize("name", PAPER)
def test_the_pretrained_head_knows_imagenet(name: str) -> None:
    """40 images at 45 to 54 % expected: fewer than 10 right is a mistake, not chance."""
    graph, right = paper_model(name, None), 0
    with torch.no_grad():
        for label, x in list(enumerate(photos("imagenet_1per")))[::25]:
            right += int(torch_reference.forward(graph, x).values["logits"].argmax()) == label
    assert right >= 10


def test_the_head_follows_classes_and_seed() -> None:
    first, same, other = (from_paper(paper_file("mcunet-5fps"), 7, seed) for seed in (1, 1, 2))
    weights = [g.params["head.w"].data for g in (first, same, other)]
    assert weights[0].shape == (7, 160)
    assert (weights[0] == weights[1]).all() and (weights[0] != weights[2]).any()


def conv(**params: Any) -> dict[str, Any]:
    arrays = {"weight": np.ones((4, 3, 3, 3), np.int8), "bias": np.zeros(4, np.int32)}
    scales = {"w_scales": np.ones(4, np.float32), "x_scale": 1.0, "x_zero": 0, "y_scale": 1.0, "y_zero": 0}
    geometry = {
        "in_channel": 3,
        "in_shape": 8,
        "out_channel": 4,
        "kernel_size": (3, 3),
        "stride": 2,
        "groups": 1,
    }
    return geometry | {"params": arrays | scales | params}


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ([], "no usable 'first_conv'"),
        ({"first_conv": {"in_shape": True}}, "no usable 'in_shape'"),
        ({"first_conv": conv(x_scale="1")}, "no usable 'x_scale'"),
        ({"first_conv": conv(weight=np.ones(4, np.int8))}, "'weight' has shape"),
        ({"first_conv": conv(bias=np.zeros(3, np.int32))}, "'bias' is not one a channel"),
        ({"first_conv": conv(y_scale=0.0)}, "scale 0.0"),
        ({"first_conv": conv(y_zero=300)}, "zero point 300"),
        ({"first_conv": conv(w_scales=np.zeros(4, np.float32))}, "not a positive number"),
        ({"first_conv": conv(), "blocks": [{"se": 1}]}, "squeeze-and-excite"),
        ({"first_conv": conv(), "blocks": [{"pointwise1": conv(x_zero=3)}]}, "not its producer's"),
        ({"first_conv": conv(), "blocks": [3]}, "no usable 'classifier'"),
    ],
)
def test_a_wrong_model_is_a_user_error(model: Any, what: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pkl", "w") as archive:
        archive.writestr("archive/data.pkl", _pickled(model))
    with pytest.raises(UserError, match=what):
        from_paper(tmp_path / "m.pkl", 2)


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, 2)


@pytest.mark.parametrize("content", [b"", b"\x80\x02}.", b"PK\x05\x06" + bytes(18), b"PK\x03\x04"])
def test_what_is_no_archive_is_a_user_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(content)
    with pytest.raises(UserError, match="not a readable torch archive"):
        from_paper(tmp_path / "m.pkl", 2)


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pkl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(65 << 20))
    with pytest.raises(UserError, match="unpacks to"):
        from_paper(tmp_path / "m.pkl", 2)
