"""Does a node fit its op record? Used by the verifier after every pass."""

from __future__ import annotations

from collections.abc import Sequence

from mcugrad.ir import DType, Graph, Node, Value
from mcugrad.ir.verify import verify
from mcugrad.ops.op import Arg, get

# |x - zero| <= 255, |w| <= 128, |bias| <= 2^30: this many terms stay inside int32.
FORWARD_TERMS = 2**30 // (255 * 128)
# |da| <= 2^14, |w| <= 128: this many terms stay inside int32.
BACKWARD_TERMS = 2**31 // (2**14 * 128) - 1


def checked(graph: Graph) -> Graph:
    """Verify a graph against the op records."""
    return verify(graph, signature)


def signature(node: Node, ins: Sequence[Value], outs: Sequence[Value]) -> str | None:
    """What is wrong with the node, or None."""
    op = get(node.op)
    problem = _fits("input", ins, op.ins) or _fits("output", outs, op.outs)
    if problem:
        return problem
    for out, shape in zip(outs, op.shapes(ins, node.attrs), strict=False):
        if out.shape != tuple(shape):
            return f"{out.name} has shape {out.shape}, the op makes {tuple(shape)}"
    if node.work and not op.work:
        return f"the op takes no scratch, but has {node.work}"
    return _accumulator(node, ins)


def _fits(what: str, values: Sequence[Value], args: Sequence[Arg]) -> str | None:
    needed = sum(not a.optional for a in args)
    if not needed <= len(values) <= len(args):
        return f"{len(values)} {what}s, the op takes {needed} to {len(args)}"
    for value, arg in zip(values, args, strict=False):
        if value.dtype is not arg.dtype or (arg.scale and value.shape != (4,)):
            has = f"{value.dtype.value}{value.shape}"
            return f"{what} {value.name} is {has}, the op wants {arg.name}:{arg.dtype.value}"
    return None


def _accumulator(node: Node, ins: Sequence[Value]) -> str | None:
    if not node.op.startswith(("conv2d", "depthwise_conv2d")) or len(ins) < 2 or ins[1].dtype is not DType.S8:
        return None
    w = ins[1].shape
    if node.op in ("conv2d", "depthwise_conv2d"):
        terms, limit = (w[1] * w[2] * w[3] if node.op == "conv2d" else w[0] * w[1]), FORWARD_TERMS
    elif node.op in ("conv2d_dx", "depthwise_conv2d_dx"):
        terms, limit = (w[0] * w[1] * w[2] if node.op == "conv2d_dx" else w[0] * w[1]), BACKWARD_TERMS
    else:
        return None
    return None if terms <= limit else f"{terms} products in one int32 sum, at most {limit} are safe"
