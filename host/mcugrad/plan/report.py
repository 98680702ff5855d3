"""The memory report as text: regions, live bytes over time, the peak and its buffers, what is proved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mcugrad import ops
from mcugrad.ir import Graph
from mcugrad.plan import solver
from mcugrad.plan.cuts import Cuts
from mcugrad.plan.fit import Fit
from mcugrad.plan.front import leading
from mcugrad.plan.memory import Plan, place
from mcugrad.plan.peak import Held, live_bytes, peak_node, why

BLOCKS = " ▁▂▃▄▅▆▇█"
COLUMNS = 72


def describe(graph: Graph, plan: Plan, fit: Fit) -> str:
    """What `mcugrad plan` prints."""
    lines = [f"{graph.name}: {len(plan.order)} nodes"]
    for region in fit.regions:
        memory = region.memory
        lines.append(f"{memory.name:8} {region.used:>9,} of {memory.size:,} bytes")
        lines += [f"  {name:15} {size:>9,}" for name, size in region.parts.items()]
    lines += [proof(plan), *restrictions(graph, plan), *_over_time(plan)]
    node = plan.order[peak_node(plan)]
    lines.append(f"peak at {node.layer} ({node.op}); alive there, and what would lower it:")
    lines += [line for held in why(graph, plan) for line in _explained(held)]
    return "\n".join(lines) + "\n"


def proof(plan: Plan) -> str:
    """What is proved of the arena's size."""
    gap = plan.arena_bytes - plan.least
    parts = [
        f"arena {plan.arena_bytes:,}",
        f"no placement of this order can go below {plan.least:,} (gap {gap:,}, {plan.gap:.1%})",
    ]
    if plan.floor:
        ways = "order or tiles" if plan.tiles else "order"
        parts.append(f"no {ways} of what follows the frozen front can go below {plan.floor:,}")
    if gap and not solver.available():
        parts.append("pip install mcugrad[compile] places it exactly: OR-tools is not there")
    return "; ".join(parts)


def restrictions(graph: Graph, plan: Plan) -> list[str]:
    """Most live bytes in the frozen front and behind it: as planned, and with what was not done."""
    front = leading(graph, plan.order)
    whole, end = place(graph, plan.order).live, plan.timeline.ends[front - 1] + 1 if front else 0
    lowest = Cuts(graph, plan.order, front, whole).lowest
    before = (
        f"frozen front: {max(plan.live[:end], default=0):,} live bytes; {max(whole[:front], default=0):,} "
        f"if nothing is streamed, about {lowest:,} in the streams with the lowest peak, one row a call"
    )
    tiled = f"; {max(whole[front:], default=0):,} if nothing is run by tiles" if plan.tiles else ""
    behind = f"behind it: {max(plan.live[end:], default=0):,}{tiled}"
    return [before] * (front > 0) + [behind] * (front < len(plan.order))


def _explained(held: Held) -> list[str]:
    lives = f"from {held.made} to {held.read}"
    return [f"  {held.size:>9,}  {held.name}: {held.kind}, {lives}", f"  {'':>9}  -> {held.hint}"]


def _over_time(plan: Plan) -> list[str]:
    """Live bytes as a row of blocks, each the most of some nodes; beneath, the phase of their first."""
    live = live_bytes(plan)
    columns = min(COLUMNS, len(live))
    starts = [i * len(live) // columns for i in range(columns + 1)]
    tops = [max(live[a:b]) for a, b in pairwise(starts)]
    phases = [ops.get(plan.order[i].op).phase[0] for i in starts[:-1]]
    return ["live bytes, node by node:", f"  {_bar(tops)}  {max(live):,}", f"  {''.join(phases)}"]


def _bar(tops: Sequence[int]) -> str:
    most = max(tops)
    return "".join(BLOCKS[-(-top * (len(BLOCKS) - 1) // most)] for top in tops)
