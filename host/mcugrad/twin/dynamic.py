"""Dynamic sparse gradients for batches: each sample has active channels of its own; ops/dynamic.py.

Tensors of active channels are not packed here: they have all K channels, and zeros where a sample has fewer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mcugrad.ops.dynamic import GROUP, ONE
from mcugrad.twin import fixed
from mcugrad.twin.backward import conv2d_dw, depthwise_conv2d_dw
from mcugrad.twin.update import UPDATE


def active_share(loss: Tensor, worst: Tensor, *, least: int, most: int, **_: Any) -> tuple[Tensor, Tensor]:
    """Losses [N,1], the largest so far [1] -> shares [N,1]; the whole batch enters the largest first."""
    worst = torch.maximum(worst, loss.amax())
    part = torch.where(worst > 0, loss / worst, torch.zeros_like(loss))
    return least + fixed.round_away((most - least) * part), worst


def channel_norms(da: Tensor, **_: Any) -> tuple[Tensor]:
    return (da.double().abs().sum((1, 2)),)


def top_channels(norms: Tensor, share: Tensor, *, most: int, **_: Any) -> tuple[Tensor]:
    """Norms [N,C], shares [N,1] -> counts and channels, int64 [N,1+K]."""
    channels = norms.shape[1]
    count = (share.long() * channels + (ONE * GROUP - 1)).div(ONE * GROUP, rounding_mode="floor") * GROUP
    count = count.clamp(max=channels)
    chosen = norms.sort(dim=1, descending=True, stable=True).indices[:, :most]
    unused = torch.arange(most, device=norms.device) >= count
    chosen = chosen.masked_fill(unused, channels).sort(1).values
    return (torch.cat([count, chosen.masked_fill(unused, 0)], 1),)


def gather_active(x: Tensor, active: Tensor, **_: Any) -> tuple[Tensor]:
    """[N,H,W,C] -> [N,H,W,K]."""
    channels, used = _active(active)
    part = x.gather(3, channels[:, None, None].expand(*x.shape[:3], -1))
    return (part * used[:, None, None],)


def conv2d_dw_dynamic(da: Tensor, x: Tensor, active: Tensor, **attrs: Any) -> tuple[Tensor]:
    return conv2d_dw(da, x, **attrs)


def depthwise_conv2d_dw_dynamic(da: Tensor, x: Tensor, active: Tensor, **attrs: Any) -> tuple[Tensor]:
    return depthwise_conv2d_dw(da, x, **attrs)


def sgd_dynamic(
    w: Tensor,
    frac: Tensor,
    dw: Tensor,
    coef: Tensor,
    da_scale: Tensor,
    lr: Tensor,
    active: Tensor,
    index: Tensor | None = None,
    *,
    inner: int,
    **attrs: Any,
) -> tuple[Tensor, ...]:
    """As sgd or sgd_partial with a gradient of zero for the channels that are not active."""
    channels, _ = _active(active)
    axis = dw.ndim - 1 if inner else 1
    places = channels.reshape(len(dw), *(-1 if i == axis else 1 for i in range(1, dw.ndim)))
    whole = torch.zeros(len(dw), *frac.shape, dtype=dw.dtype, device=dw.device)
    whole.scatter_add_(axis, places.expand(dw.shape), dw)  # unused places add their zeros to channel 0
    ins = (w, frac, whole, coef, da_scale, lr)
    if index is None:
        return UPDATE["sgd"](*ins, inner=inner, **attrs)
    return UPDATE["sgd_partial"](*ins, index, inner=inner, **attrs)


def _active(active: Tensor) -> tuple[Tensor, Tensor]:
    """Channels [N,K], and whether that place is used."""
    channels = active[:, 1:]
    return channels, torch.arange(channels.shape[1], device=active.device) < active[:, :1]


DYNAMIC = {
    f.__name__: f
    for f in (
        active_share,
        channel_norms,
        top_channels,
        gather_active,
        conv2d_dw_dynamic,
        depthwise_conv2d_dw_dynamic,
    )
} | {"gather_active_dx": gather_active}
DYNAMIC_UPDATE = {"sgd_dynamic": sgd_dynamic}
