"""A plan -> one self-contained page: regions, buffers over time, the peak and what would lower it."""

from __future__ import annotations

from html import escape

from mcugrad import ops
from mcugrad.ir import Graph
from mcugrad.plan.arena import Buffer
from mcugrad.plan.fit import Fit
from mcugrad.plan.memory import Plan
from mcugrad.plan.peak import live_bytes, peak_node, why
from mcugrad.report.curves import PHASES, lives, svg
from mcugrad.report.page import environment, regions


def page(graph: Graph, plan: Plan, fit: Fit, scheme: str, board: str) -> str:
    """The page as HTML; nothing is loaded from elsewhere, and the same plan gives the same bytes."""
    return (
        environment()
        .get_template("memory.html")
        .render(
            model=graph.name,
            scheme=scheme,
            board=board,
            fit=fit,
            plan=plan,
            peak=plan.order[peak_node(plan)],
            held=why(graph, plan),
            regions=regions(fit.memory),
            picture=_picture(plan),
            colours=PHASES,
        )
    )


def _picture(plan: Plan) -> str:
    nodes = [{"phase": ops.get(n.op).phase} for n in plan.order]
    buffers = [(b.values, b.offset, b.size, b.first, b.last) for b in plan.buffers]
    picture = svg(lives(buffers, nodes, plan.arena_bytes, live_bytes(plan), plan.bound), 10, 6.4)
    for i, buffer in enumerate(plan.buffers):
        group = f'<g id="buffer-{i}">'
        picture = picture.replace(group, f"{group}<title>{escape(_title(plan, buffer))}</title>")
    return picture


def _title(plan: Plan, b: Buffer) -> str:
    first, last = (plan.order[i] for i in (b.first, b.last))
    lives = f"node {b.first} ({first.op} {first.layer}) to {b.last} ({last.op} {last.layer})"
    rows = plan.windows.get(b.values[0])
    held = f"{b.values[0]}, a window of {rows} rows" if rows else " = ".join(b.values)
    return f"{held}: {b.size:,} bytes at {b.offset:,}, {lives}"
