"""One record per operation; importing this package registers all of them."""

from mcugrad.ops import conv, dynamic, elementwise, fused, linear, loss, parts, pool, update
from mcugrad.ops.op import OPS, Op, get

__all__ = [
    "OPS",
    "Op",
    "conv",
    "dynamic",
    "elementwise",
    "fused",
    "get",
    "linear",
    "loss",
    "parts",
    "pool",
    "update",
]
