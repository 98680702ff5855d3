"""The paper's forward and backward pass, read off its pickle: float64, half to even, no fixed point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as fn

_PARTS = (("pointwise1", "pw1"), ("depthwise", "dw"), ("pointwise2", "pw2"))


class Run:
    """One pass over the pickle's dict: `outs` by layer (CHW, 'pool': C), `leaves` the weights used (OIHW).

    Activations `given` by layer replace the computed ones, not their gradients: so that two
    implementations can be compared layer by layer, without the drift of rounding.
    """

    def __init__(
        self, model: dict[str, Any], x: NDArray[np.int8], given: Mapping[str, Tensor] | None = None
    ) -> None:
        self.outs: dict[str, Tensor] = {}
        self.leaves: dict[str, Tensor] = {}
        self.given = given or {}
        y = torch.tensor(x.astype(np.float64)).permute(2, 0, 1)
        y = self._conv(y, model["first_conv"], "conv0")
        for i, block in enumerate(model["blocks"]):
            y = self._block(y, block, f"b{i}")
        self._keep("pool", _round(y.mean((1, 2)), mask=False))

    def _block(self, start: Tensor, block: dict[str, Any], name: str) -> Tensor:
        y = start
        for part, layer in _PARTS:
            if block[part] is not None:
                y = self._conv(y, block[part], f"{name}.{layer}")
        if block["residual"] is None:
            return y
        a, b = block["residual"]["params"], block["pointwise2"]["params"]
        real = (start - a["x_zero"]) * a["x_scale"] + (y - b["y_zero"]) * b["y_scale"]
        return self._keep(f"{name}.add", _round(real / a["y_scale"] + a["y_zero"], mask=False))

    def _conv(self, x: Tensor, conv: dict[str, Any], name: str) -> Tensor:
        p = conv["params"]
        w = torch.tensor(p["weight"].astype(np.float64), requires_grad=True)
        b = torch.tensor(p["bias"].astype(np.float64), requires_grad=True)
        self.leaves |= {f"{name}.w": w, f"{name}.b": b}
        pad = (conv["kernel_size"][0] - 1) // 2
        acc = fn.conv2d((x - p["x_zero"])[None], w, b, conv["stride"], pad, groups=conv["groups"])[0]
        s_eff = p["x_scale"] * p["w_scales"].astype(np.float64) / p["y_scale"]
        return self._keep(name, _round(acc * torch.tensor(s_eff)[:, None, None] + p["y_zero"], mask=True))

    def _keep(self, name: str, y: Tensor) -> Tensor:
        if name in self.given:
            y = y + (self.given[name] - y).detach()
        self.outs[name] = y
        return y


def _round(real: Tensor, mask: bool) -> Tensor:
    integer = real.detach().round()
    linear = real * ((integer >= -128) & (integer <= 127)) if mask else real
    return linear + (integer.clamp(-128, 127) - linear).detach()
