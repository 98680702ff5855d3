"""Sparse update as data: which biases train, and which share of which convolution's input channels.

The paper's 15 schemes and one of ours are a table keyed by model and KB; convolutions count from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from mcugrad.errors import UserError
from mcugrad.ir.graph import Array, Graph, Node

Ranking = Mapping[int, Array]  # convolution -> a score for each of its input channels, the largest train
Shares = tuple[Fraction, Fraction]  # the least and the most
INFERENCE = "inference"  # nothing trains
DYNAMIC: Shares = (Fraction(1, 8), Fraction(1))
_NUMBER = r"\d{1,4}"
_SHARE = r"\d{1,4}(?:/[1-9]\d{0,3})?"


@dataclass(frozen=True)
class Scheme:
    """The last `biases` convolutions train their bias; `weights` maps a convolution to its trained share.

    The share counts input channels (depthwise: channels), best first. head: whether the classifier
    trains too. dynamic: the shares of output channels between which the run chooses, passes/dynamic.py.
    """

    biases: int
    weights: Mapping[int, Fraction] = field(default_factory=dict)
    dynamic: Shares | None = None
    head: bool = True

    def __str__(self) -> str:
        """What `scheme_for` reads."""
        if not self.head:
            return INFERENCE
        dynamic = ["dynamic:{}..{}".format(*self.dynamic)] if self.dynamic else []
        shares = (f"{index}:{share}" for index, share in sorted(self.weights.items()) if share)
        return " ".join([*dynamic, str(self.biases), *shares])


def parse_scheme(text: str) -> Scheme:
    """'20 24:1/4 27:1/2' -> 20 biases, a quarter of convolution 24, half of 27.

    UserError for what cannot be read, a share that is not above 0 and at most 1, a convolution named twice.
    """
    where, (biases, *items) = f"scheme '{text}'", text.split() or [""]
    if not re.fullmatch(_NUMBER, biases):
        raise UserError(f"'{biases}' is no count of biases", where, "begin with it, as in '20 24:1/4 27:1/2'")
    weights: dict[int, Fraction] = {}
    for item in items:
        match = re.fullmatch(rf"({_NUMBER}):({_SHARE})", item)
        if not match:
            fix = "write convolution:share, as in '20 24:1/4 27:1/2'"
            raise UserError(f"'{item}' is no convolution and share", where, fix)
        index, share = int(match[1]), Fraction(match[2])
        if not 0 < share <= 1:
            fix = "give one above 0 and at most 1, or leave the convolution out"
            raise UserError(f"convolution {index}: share {share}", where, fix)
        if index in weights:
            raise UserError(f"convolution {index} is named twice", where, "give it one share")
        weights[index] = share
    return Scheme(int(biases), weights)


SCHEMES: Mapping[str, Mapping[str, Scheme]] = {
    model: {name: parse_scheme(text) for name, text in table.items()}
    for model, table in {
        "mbv2-w0.35": {
            "49kb": "16 36:1 39:1 41:1/4 42:1/8 45:1/8 48:1/8 49:1/8",
            "73kb": "20 32:1/8 33:1/2 36:1/2 39:1 41:1/4 42:1/8 45:1/8 48:1",
            "99kb": "25 27:1 30:1 33:1 36:1 39:1 42:1/8 45:1/2 48:1",
            "123kb": "31 27:1 30:1 33:1 36:1 39:1 42:1/2 45:1 48:1",
            "138kb": "34 27:1 30:1 33:1 36:1 39:1 42:1 45:1 48:1",
        },
        "mcunet-5fps": {
            "49kb": "20 24:1/4 27:1/2 30:1/2",
            "74kb": "21 21:1 24:1 27:1/2 30:1",
            "99kb": "22 21:1 24:1 27:1 30:1 36:1/8 39:1/4",
            "125kb": "24 21:1/4 24:1 27:1 30:1 33:1/2 39:1/2",
            "148kb": "23 21:1 24:1 27:1 30:1 36:1 39:1/2",
        },
        "proxyless-w0.3": {
            "49kb": "21 39:1/4 42:1 45:1 51:1/8 54:1/4 57:1/4",
            "74kb": "28 33:1/2 36:1/4 39:1 42:1 45:1 51:1/2 54:1/4 57:1/2",
            "98kb": "25 36:1 39:1/2 42:1 45:1 48:1/4 51:1/2 54:1 57:1",
            "120kb": "32 36:1 39:1 42:1 45:1 48:1/2 51:1 54:1 57:1",
            "148kb": "45 36:1 39:1 42:1 45:1 48:1 51:1 54:1 57:1",
        },
        "digits-tiny": {"10kb": "9 9:1 12:1 15:1"},
    }.items()
}


def scheme_for(graph: Graph, text: str) -> Scheme:
    """A table entry ('49kb'), 'full', 'last-6', 'bias-only', 'head-only', 'inference' or an explicit
    '20 24:1/4 27:1/2'.

    After 'dynamic' or 'dynamic:1/8..1/2' it trains dynamically. UserError if the graph has no such
    convolution or channel share.
    """
    dynamic, rest = _dynamic(text.strip().lower())
    scheme = replace(_named(graph, rest), dynamic=dynamic)
    layers, where = [node.layer for node in convolutions(graph)], f"scheme '{text}' of {graph.name}"
    last = len(layers) - 1
    for index in scheme.weights:
        if index > last:
            fix = f"the network has 0 ({layers[0]}) to {last} ({layers[last]})"
            raise UserError(f"there is no convolution {index}", where, fix)
    if scheme.biases > len(layers):
        fix = f"begin with {len(layers)} or less: the network has so many convolutions"
        raise UserError(f"there are no {scheme.biases} biases", where, fix)
    return scheme


def convolutions(graph: Graph) -> list[Node]:
    """The convolutions in network order: position == attrs['index']."""
    forward = ("conv2d", "depthwise_conv2d")
    return sorted((n for n in graph.nodes if n.op in forward), key=lambda n: int(n.attrs["index"]))


def select_channels(
    graph: Graph, index: int, ratio: Fraction, ranking: Ranking | None = None
) -> tuple[int, ...]:
    """The trained input channels of one convolution, sorted: the share that `ranking` scores highest, by
    default the share with the largest L2 norm.

    Equal scores go by index; at least one channel unless the ratio is 0.
    """
    node = convolutions(graph)[index]
    scores = ranking[index] if ranking and index in ranking else _energy(graph, node)
    count = max(int(ratio * len(scores)), 1 if ratio else 0)
    return tuple(sorted(int(i) for i in np.argsort(-scores, kind="stable")[:count]))


def _energy(graph: Graph, node: Node) -> Array:
    weight = graph.params[node.ins[1]].data.astype(np.int64)
    energy: Array = (weight**2).sum(tuple(range(weight.ndim - 1)))
    return energy


def analytic_memory(graph: Graph, scheme: Scheme) -> int:
    """The paper's extra memory in bytes (its KB are 1024): what training needs on top of inference.

    int8 trained weights + int32 trained biases + int8 saved inputs (trained channels only, and the head's)
    + one clamp bit an output element of every convolution whose bias trains. No head, no gradients.
    """
    nodes = convolutions(graph)
    total = Fraction(sum(graph.value(n.ins[0]).size for n in graph.nodes if n.op == "linear"))
    for node in nodes[len(nodes) - scheme.biases :]:
        total += 4 * graph.value(node.ins[2]).size + Fraction(graph.value(node.outs[0]).size, 8)
    for index, ratio in scheme.weights.items():
        count = len(select_channels(graph, index, ratio))
        weight, x = (graph.value(name) for name in (nodes[index].ins[1], nodes[index].ins[0]))
        total += count * (weight.size // weight.shape[-1] + x.shape[0] * x.shape[1])
    return int(total)


def _dynamic(text: str) -> tuple[Shares | None, str]:
    """A scheme's text -> the shares of its prefix 'dynamic' and the rest."""
    if not text.startswith("dynamic"):
        return None, text
    match = re.fullmatch(rf"dynamic(?::({_SHARE})\.\.({_SHARE}))?\s+(\S.*)", text)
    if not match:
        raise UserError(f"unreadable scheme '{text}'", "--scheme", "write 'dynamic:1/8..1 last-6'")
    least, most = (Fraction(s) for s in match.groups()[:2]) if match[1] else DYNAMIC
    if not 0 < least <= most <= 1:
        raise UserError(f"shares {least}..{most}", f"scheme '{text}'", "keep them to 0 < least <= most <= 1")
    return (least, most), match[3]


def _named(graph: Graph, text: str) -> Scheme:
    count, table = len(convolutions(graph)), SCHEMES.get(graph.name, {})
    if text in table:
        return table[text]
    if text == INFERENCE:
        return Scheme(0, head=False)
    if text in ("full", "bias-only", "head-only"):
        return _last(count, count if text == "full" else 0, 0 if text == "head-only" else count)
    if match := re.fullmatch(r"last-([1-9]\d{0,3})", text):
        return _last(count, int(match[1]), int(match[1]))
    if re.match(r"\d+(\s|$)", text):
        return parse_scheme(text)
    known = ", ".join([*table, "full", "last-<k>", "bias-only", "head-only", INFERENCE])
    raise UserError(f"no scheme '{text}' for {graph.name}", "--scheme", f"use {known} or '20 24:1/4 27:1/2'")


def _last(count: int, weights: int, biases: int) -> Scheme:
    if max(weights, biases) > count:
        raise UserError(f"the network has only {count} convolutions", "--scheme", f"use last-{count} or less")
    return Scheme(biases, {i: Fraction(1) for i in range(count - weights, count)})
