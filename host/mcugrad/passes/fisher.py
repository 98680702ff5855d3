"""Task-adaptive channel choice: how much the loss on a few samples hangs on each input channel of a layer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mcugrad import interp
from mcugrad.ir import Graph, ScaleRef
from mcugrad.ir.graph import Array
from mcugrad.ops.op import Update
from mcugrad.ops.signature import checked
from mcugrad.passes.autodiff import differentiate, with_loss
from mcugrad.passes.calibrate import calibrate
from mcugrad.passes.schemes import Ranking, Scheme, convolutions

_EXP = 0  # of a scale state


def fisher(forward: Graph, scheme: Scheme, samples: Iterable[tuple[Array, int]]) -> Ranking:
    """Fisher information of the channels of every convolution that the scheme trains in part.

    For channel c: sum over samples of (sum over places of x_c * dloss/dx_c)^2, through that convolution
    alone. By linearity the inner sum is that of w_c * dloss/dw_c, which is how it is computed.
    samples: int8 [H,W,C] and label. The same samples give the same bits.
    """
    nodes = convolutions(forward)
    partial = {nodes[i].ins[1]: i for i, share in scheme.weights.items() if 0 < share < 1}
    if not partial:
        return {}
    graph, updates = differentiate(with_loss(checked(forward)), dict.fromkeys(partial, True))
    graph = calibrate(graph)
    state, found = interp.initial_state(graph), dict[int, Array]()
    for x, label in samples:
        env, state = interp.run(graph, {graph.inputs[0].name: x} | interp.scalars(label), state)
        for update in updates:
            index = partial[update.params[0]]
            found[index] = found.get(index, 0.0) + _sensitivity(env, update) ** 2
    return found


def _sensitivity(env: interp.Env, update: Update) -> Array:
    """Sum of w * dloss/dw for each input channel."""
    scale = update.about["scale"]
    assert isinstance(scale, ScaleRef)
    w, dw = env[update.params[0]].astype(np.int64), env[update.operands[0]].astype(np.int64)
    total = (w * dw).sum(tuple(range(w.ndim - 1)))
    sensitivity: Array = np.ldexp(total.astype(np.float64), int(env[scale.state][_EXP]) + scale.offset)
    return sensitivity
