"""The paper's forward and backward pass, read off its pickle: float64, half to even, no fixed point."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as fn

Leaves = dict[str, Tensor]
_PARTS = (("pointwise1", "pw1"), ("depthwise", "dw"), ("pointwise2", "pw2"))


def run(
    model: dict[str, Any], x: NDArray[np.int8], leaves: Leaves | None = None
) -> tuple[dict[str, Tensor], Leaves]:
    """Activations by layer (CHW, 'pool': C) and the weights used, OIHW; `x` is HWC."""
    leaves = {} if leaves is None else leaves
    y = torch.tensor(x.astype(np.float64)).permute(2, 0, 1)
    outs = {"conv0": _conv(y, model["first_conv"], "conv0", leaves)}
    y = outs["conv0"]
    for i, block in enumerate(model["blocks"]):
        start = y
        for part, name in _PARTS:
            if block[part] is not None:
                y = outs[f"b{i}.{name}"] = _conv(y, block[part], f"b{i}.{name}", leaves)
        if block["residual"] is not None:
            a, b = block["residual"]["params"], block["pointwise2"]["params"]
            real = (start - a["x_zero"]) * a["x_scale"] + (y - b["y_zero"]) * b["y_scale"]
            y = outs[f"b{i}.add"] = _round(real / a["y_scale"] + a["y_zero"], mask=False)
    outs["pool"] = _round(y.mean((1, 2)), mask=False)
    return outs, leaves


def _conv(x: Tensor, conv: dict[str, Any], name: str, leaves: Leaves) -> Tensor:
    p = conv["params"]
    w = torch.tensor(p["weight"].astype(np.float64), requires_grad=True)
    b = torch.tensor(p["bias"].astype(np.float64), requires_grad=True)
    leaves[f"{name}.w"], leaves[f"{name}.b"] = w, b
    pad = (conv["kernel_size"][0] - 1) // 2
    acc = fn.conv2d((x - p["x_zero"])[None], w, b, conv["stride"], pad, groups=conv["groups"])[0]
    s_eff = p["x_scale"] * p["w_scales"].astype(np.float64) / p["y_scale"]
    return _round(acc * torch.tensor(s_eff)[:, None, None] + p["y_zero"], mask=True)


def _round(real: Tensor, mask: bool) -> Tensor:
    integer = real.detach().round()
    linear = real * ((integer >= -128) & (integer <= 127)) if mask else real
    return linear + (integer.clamp(-128, 127) - linear).detach()
