"""Softmax cross-entropy: loss, prediction and the gradient of the logits in one node."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcugrad.ir import Node
from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from mcugrad.ops.op import Gradients, register, size_of_first

F32 = np.float32


def softmax_xent(logits: Array, label: Array, **_: Any) -> tuple[Array, Array, Array]:
    """logits f32[K], label s32[1] -> loss f32[1], predicted s32[1], dlogits f32[K]."""
    top, predicted = _argmax(logits)
    e = np.array([fixed.expf(F32(z - top)) for z in logits], F32)
    total = F32(0)
    for term in e:
        total = F32(total + term)
    dlogits = e / total
    dlogits[label[0]] -= F32(1)
    loss = F32(fixed.logf(total) - F32(logits[label[0]] - top))
    return np.array([loss], F32), np.array([predicted], np.int32), dlogits


def _argmax(logits: Array) -> tuple[np.float32, int]:
    best = 0
    for i in range(1, logits.size):
        if logits[i] > logits[best]:
            best = i
    return F32(logits[best]), best


def _gradient(g: Gradients, node: Node) -> None:
    g.add(node.ins[0], node.outs[2])


register(
    "softmax_xent",
    outs="loss:f32 predicted:s32 dlogits:f32",
    ins="logits:f32 label:s32",
    params="count",
    shapes=lambda ins, a: ((1,), (1,), ins[0].shape),
    ref=softmax_xent,
    fields=size_of_first,
    grad=_gradient,
)
