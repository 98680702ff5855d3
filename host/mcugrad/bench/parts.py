"""What a stream or tiles cost -> their nodes: each step is one call, and the emulated board counts those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcugrad import ops
from mcugrad.codegen.tiles import function, sequence
from mcugrad.errors import InternalError
from mcugrad.ir import Graph
from mcugrad.plan.memory import Plan
from mcugrad.plan.stream import FEED

Row = dict[str, Any]
_COUNTED = ("instructions", "cycles_estimated")


@dataclass(frozen=True)
class Part:
    """Nodes first..last of the order run together: the node of each call, and the functions called.

    fed: it runs before its first node's turn, while the sample comes in.
    """

    name: str
    first: int
    last: int
    steps: Sequence[int]
    functions: frozenset[str]
    fed: bool = False


def parts(graph: Graph, plan: Plan) -> list[Part]:
    """Streams, then tiles."""
    found = []
    for k, s in enumerate(plan.streams):
        kernels = frozenset(ops.get(n.op).kernel for n in plan.order[s.first : s.last + 1])
        steps = [step.node for step in s.steps if step.node != FEED]
        found.append(Part(f"stream {k}", s.first, s.last, steps, kernels, bool(s.feed)))
    for k, t in enumerate(plan.tiles):
        kernels = frozenset(function(t, n) for n in plan.order[t.first : t.last + 1])
        steps = sequence(graph, plan, t)
        found.append(Part(f"tiles {k}", t.first, t.last, steps, kernels))
    return found


def functions(graph: Graph, plan: Plan) -> list[str]:
    """What to watch."""
    return sorted(set[str]().union(*(p.functions for p in parts(graph, plan))))


def attributed(
    graph: Graph,
    plan: Plan,
    nodes: Sequence[Row],
    marks: Sequence[tuple[int, int]],
    calls: Sequence[Row],
) -> tuple[list[Row], list[Row]]:
    """(nodes, parts): nodes that run in parts with the cost and number of their calls, and for each stream
    and tiles what remains: loops, windows moved on, exponents.

    nodes: each with all of its part's cost at the first one. InternalError where calls are missing.
    """
    nodes, rests = [dict(n) for n in nodes], []
    for p in parts(graph, plan):
        inside = slice(p.first, p.last + 1)
        whole = {what: sum(n[what] for n in nodes[inside]) for what in _COUNTED}
        since, until = 0 if p.fed else marks[p.first][0], marks[p.first + 1][0]
        mine = [c for c in calls if c["symbol"] in p.functions and since <= c["at"] < until]
        _share(nodes, p, [*_outermost(mine)])
        own = {w: whole[w] - sum(n[w] for n in nodes[inside]) for w in _COUNTED}
        rests.append(
            {"name": p.name, "first": p.first, "last": p.last, "phase": nodes[p.first]["phase"], **own}
        )
    return nodes, rests


def _share(nodes: list[Row], p: Part, calls: Sequence[Row]) -> None:
    if len(p.steps) != len(calls):
        raise InternalError(f"{len(calls)} calls of kernels for {len(p.steps)} steps of {p.name}")
    for node in nodes[p.first : p.last + 1]:
        node |= {"calls": 0, **dict.fromkeys(_COUNTED, 0)}
    for i, call in zip(p.steps, calls, strict=True):
        nodes[i]["calls"] += 1
        nodes[i]["instructions"] += call["instructions"]
        nodes[i]["cycles_estimated"] += call["cycles"]


def _outermost(calls: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """The calls that no other one made, in order."""
    end = 0
    for call in sorted(calls, key=lambda c: (c["at"], -c["instructions"])):
        if call["at"] >= end:
            end = call["at"] + call["instructions"]
            yield dict(call)
