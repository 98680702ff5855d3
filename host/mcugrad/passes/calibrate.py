"""Start values of the gradients' growth: a few steps on noise with learning rate 0."""

from __future__ import annotations

import numpy as np

from mcugrad import interp
from mcugrad.ir import Graph
from mcugrad.ir.graph import Array
from mcugrad.ops.op import scale_states

STEPS = 4
NONE = -99


def calibrate(graph: Graph, seed: int = 0) -> Graph:
    """The same training graph, its scale states holding the largest growth that any of the steps saw.

    Real samples correct it within a few steps; this only spares the first ones from clipping.
    """
    rng = np.random.default_rng(seed)
    x = graph.inputs[0]
    classes = graph.value(graph.outputs["logits"]).size
    names, state = scale_states(graph), dict(interp.initial_state(graph))
    state |= {n: np.array([0, NONE, 0, 0], np.int16) for n in names}  # the first step finds it from below
    best: dict[str, Array] = {}
    for step in range(STEPS):
        sample = rng.integers(-128, 128, x.shape).astype(np.int8)
        _, state = interp.run(graph, {x.name: sample} | interp.scalars(step % classes, 0.0), state)
        if step:
            best = {n: _larger(best.get(n, state[n]), state[n]) for n in names}
    return graph.with_params(best)


def _larger(a: Array, b: Array) -> Array:
    return np.array([0, max(int(a[1]), int(b[1])), 0, 0], np.int16)
