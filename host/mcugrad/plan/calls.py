"""What one call of a forward kernel takes that makes some rows of a map: instructions, as fitted to counts on
the emulated board. Only what depends on the rows and the scratch has to be right."""

from __future__ import annotations

from math import prod

from mcugrad.ir import Graph, Node
from mcugrad.ops import work

WORD = 4
ADD, CALL = 60, 250
ELEMENT = 7.8  # of an add
PORTABLE = 8  # of the portable loops, a MAC
# Of four pixels: besides, of an input; of a channel, besides and of a product. Weights int8, or widened.
TILES = (68, 4.25, 23.2, 3.25), (108, 4.0, 21, 2.59)
ROUND, PAIR, WEIGHT = 42, 13, 1.125  # weights widened: each time, of two channels, of a weight
PADDED = 75  # more each time, where taps are no whole words
LAID = 50, 6.3  # of a row of four windows that are laid out, and of a byte of it
STRIP, ROW, PIXEL = 690, 86, 7.9  # of all channels; of a row of four channels, and what is taken apart of it
LINES = {3: 375, 5: 660, 7: 950}  # of four channels, by the kernel: each time rows are fetched
RUN = {(3, 1): 218, (3, 2): 219, (5, 1): 482, (5, 2): 524, (7, 1): 794, (7, 2): 807}  # 4 x 4 outputs


def instructions(graph: Graph, node: Node, rows: int, words: int, read: float) -> float:
    """Of so many rows of the node's output, made of `read` rows of its operand, in that much scratch."""
    _, width, channels = graph.value(node.outs[0]).shape
    if node.op == "add":
        return ADD + ELEMENT * rows * width * channels
    kernel, pointwise = graph.value(node.ins[1]), node.op == "conv2d"
    if not words:
        macs = kernel.size if pointwise else prod(kernel.shape[:2]) * channels
        return CALL + PORTABLE * rows * width * macs
    return _conv2d(graph, node, rows, words) if pointwise else _depthwise(graph, node, rows, words, read)


def _conv2d(graph: Graph, node: Node, rows: int, words: int) -> float:
    """conv__matrix.c; sums in memory as if windows were not too long."""
    width = graph.value(node.outs[0]).shape[1]
    co, kh, kw, ci = graph.value(node.ins[1]).shape
    taps, pixels, one = kh * kw * ci, rows * width, work.pointwise((kh, kw), node.attrs)
    most = work.widened(pixels, co, taps, one, words)
    rounds = -(-co // most) if most else 1
    tile, each, put, product = TILES[bool(most)]
    pair = PAIR + 2 * WEIGHT * taps
    weights = (ROUND + PADDED * (taps % 4 > 0)) * rounds + pair * co / 2 if most else 0
    laid = 0 if one else kh * (LAID[0] + LAID[1] * kw * ci)
    once = tile + each * taps + laid
    return CALL + weights + -(-pixels // 4) * (rounds * once + co * (put + product * taps))


def _depthwise(graph: Graph, node: Node, rows: int, words: int, read: float) -> float:
    """conv__depthwise.c: strips of columns, of which lines are made as far as rows of four channels fit."""
    _, width, channels = graph.value(node.outs[0]).shape
    kernel, stride = graph.value(node.ins[1]).shape[0], node.attrs["stride"]
    room = work.pixels_of_four(kernel, stride, width, words)
    widest = ((room // kernel - kernel) // stride + 1) // 4 * 4
    met = (rows - 1) * stride + kernel
    total = 0.0
    for left in range(width, 0, -widest):
        runs = -(-min(left, widest) // 4)
        columns = (4 * runs - 1) * stride + kernel
        fetched = -(-rows // ((min(room // columns, met) - kernel) // stride + 1))
        taken = read * (ROW + PIXEL * columns)
        total += STRIP + channels / 4 * (fetched * LINES[kernel] + taken + rows * runs * RUN[kernel, stride])
    return total
