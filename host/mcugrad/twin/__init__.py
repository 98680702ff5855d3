"""Training graphs in torch: the integers of interp.py, for batches, in seconds where it takes minutes."""

from mcugrad.twin.batches import cached
from mcugrad.twin.engine import Twin
from mcugrad.twin.front import split

__all__ = ["Twin", "cached", "split"]
