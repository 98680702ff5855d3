"""What a stream cost -> its nodes: each step calls one kernel, and the emulated board counts those calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mcugrad import ops
from mcugrad.errors import InternalError
from mcugrad.plan.memory import Plan
from mcugrad.plan.stream import FEED, Stream

Row = dict[str, Any]
_COUNTED = ("instructions", "cycles_estimated")


def kernels(plan: Plan) -> list[str]:
    """The functions to watch."""
    inside = (plan.order[i] for s in plan.streams for i in range(s.first, s.last + 1))
    return sorted({ops.get(node.op).kernel for node in inside})


def attributed(
    plan: Plan, nodes: Sequence[Row], marks: Sequence[tuple[int, int]], calls: Sequence[Row]
) -> tuple[list[Row], list[Row]]:
    """(nodes, streams): nodes of a stream with the cost and number of their calls, and for each stream what
    remains: moving its windows on, and its loop.

    nodes: each with all of its stream's cost at the first one. InternalError where calls are missing.
    """
    nodes, rests = [dict(n) for n in nodes], []
    for k, s in enumerate(plan.streams):
        whole = {what: sum(n[what] for n in nodes[s.first : s.last + 1]) for what in _COUNTED}
        _share(nodes, s, [*_outermost(calls, 0 if s.feed else marks[s.first][0], marks[s.first + 1][0])])
        own = {w: whole[w] - sum(n[w] for n in nodes[s.first : s.last + 1]) for w in _COUNTED}
        about = {"stream": k, "first": s.first, "last": s.last, "phase": nodes[s.first]["phase"]}
        rests.append({**about, **own})
    return nodes, rests


def _share(nodes: list[Row], s: Stream, calls: Sequence[Row]) -> None:
    steps = [step.node for step in s.steps if step.node != FEED]
    if len(steps) != len(calls):
        raise InternalError(f"{len(calls)} calls of kernels for {len(steps)} steps of a stream")
    for node in nodes[s.first : s.last + 1]:
        node |= {"calls": 0, **dict.fromkeys(_COUNTED, 0)}
    for i, call in zip(steps, calls, strict=True):
        nodes[i]["calls"] += 1
        nodes[i]["instructions"] += call["instructions"]
        nodes[i]["cycles_estimated"] += call["cycles"]


def _outermost(calls: Sequence[Mapping[str, Any]], since: int, until: int) -> Iterator[Row]:
    """The calls of a span that no other one made, in order."""
    end = 0
    for call in sorted(calls, key=lambda c: (c["at"], -c["instructions"])):
        if since <= call["at"] < until and call["at"] >= end:
            end = call["at"] + call["instructions"]
            yield dict(call)
