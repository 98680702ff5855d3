"""Small random quantised networks of the family, for tests that need a whole graph."""

from __future__ import annotations

import numpy as np

from mcugrad.frontend.drawn import Net
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array

__all__ = ["Net", "sample", "small", "wide_front"]


def small(seed: int = 0) -> Graph:
    """Odd maps, three channels, two residual blocks, one of them after a stride 2; 10 convolutions."""
    net = Net((13, 11, 3), seed).conv("conv0", 8, 3, 2)
    net.block("b0", 12, 8, 3).block("b1", 16, 7, 5, 2).block("b2", 9, 7, 7)
    return net.head(5)


def sample(graph: Graph, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, graph.inputs[0].shape).astype(np.int8)


def wide_front() -> Graph:
    net = Net((33, 31, 3), 4).conv("conv0", 8, 3, 2)
    return net.block("b0", 16, 8, 3).block("b1", 24, 8, 5, 2).block("b2", 8, 8, 3).head(4)
