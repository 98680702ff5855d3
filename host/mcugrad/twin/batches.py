"""Many samples, a few at a time: on a CPU small batches, which stay in its cache, are the fastest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.twin.engine import Samples, Twin

JUDGED = 16  # images judged at once


def cached(front: Graph, samples: Samples, batch: int = 4, device: str = "cpu") -> Mapping[str, Array]:
    """The front's outputs [N,...], int8, for int8 images [N,H,W,C] or for its inputs by name [N,...]."""
    twin = Twin(front, device)
    given = samples if isinstance(samples, Mapping) else {front.inputs[0].name: samples}
    parts = [twin.infer(rows) for rows in _few(given, batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in front.outputs}


def judged(twin: Twin, rows: Mapping[str, Array], labels: Array) -> tuple[Array, Array]:
    """Losses [N] and predictions [N]; changes nothing."""
    cuts = range(JUDGED, len(labels), JUDGED)
    found = [twin.forward(*pair) for pair in zip(_few(rows, JUDGED), np.split(labels, cuts), strict=True)]
    losses, predicted = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return losses, predicted


def _few(rows: Mapping[str, Array], size: int) -> Iterator[dict[str, Array]]:
    for i in range(0, len(next(iter(rows.values()))), size):
        yield {name: data[i : i + size] for name, data in rows.items()}
