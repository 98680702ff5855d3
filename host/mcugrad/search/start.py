"""The first generation of a search: schemes filled greedily by gain per byte, each with luck of its own."""

from __future__ import annotations

import random
from fractions import Fraction

from mcugrad.ir import Graph
from mcugrad.passes.schemes import Scheme, analytic_memory
from mcugrad.search.gains import Gains

_LUCK = 0.7  # standard deviation of the logarithm of what gain per byte is multiplied by

Part = tuple[Scheme, float, int]  # one layer's share or some biases: gain, bytes


def generation(gains: Gains, forward: Graph, most: int, count: int, seed: int | None) -> list[Scheme]:
    """`count` schemes of up to `most` bytes, as the paper counts them: from the head alone to full ones."""
    drawn, parts = random.Random(seed), _parts(gains, forward)
    return [_filled(parts, most * i / (count - 1), drawn) for i in range(count)]


def _parts(gains: Gains, forward: Graph) -> list[Part]:
    schemes = [Scheme(k) for k in range(1, gains.most_biases + 1)]
    schemes += [Scheme(0, {i: share}) for i, table in sorted(gains.weights.items()) for share in table]
    least = analytic_memory(forward, Scheme(0))
    found = [(s, gains.of(s) or 0.0, analytic_memory(forward, s) - least) for s in schemes]
    return [part for part in found if part[1] > 0]


def _filled(parts: list[Part], room: float, drawn: random.Random) -> Scheme:
    lucky = sorted(parts, key=lambda p: -p[1] / p[2] * drawn.lognormvariate(0, _LUCK))
    biases, weights, sizes = 0, dict[int, Fraction](), dict[int, int]()
    for scheme, _, size in lucky:
        place = next(iter(scheme.weights), -1)  # -1: the biases
        if place not in sizes and size <= room:
            sizes[place], room = size, room - size
            biases, weights = biases or scheme.biases, weights | dict(scheme.weights)
    return Scheme(biases, weights)
