"""One record per operation; importing this package registers all of them."""

from mcugrad.ops import conv, elementwise, linear, loss, pool, update
from mcugrad.ops.op import OPS, Op, get

__all__ = ["OPS", "Op", "conv", "elementwise", "get", "linear", "loss", "pool", "update"]
