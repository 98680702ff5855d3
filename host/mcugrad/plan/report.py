"""The memory report as text: regions, the peak and its buffers, the proved lower bound."""

from __future__ import annotations

from mcugrad.ir import Graph
from mcugrad.plan.fit import Fit
from mcugrad.plan.memory import Plan
from mcugrad.plan.peak import at_peak, peak_node


def describe(graph: Graph, plan: Plan, fit: Fit) -> str:
    """What `mcugrad plan` prints."""
    lines = [f"{graph.name}: {len(plan.order)} nodes"]
    for region in fit.regions:
        memory = region.memory
        lines.append(f"{memory.name:8} {region.used:>9,} of {memory.size:,} bytes")
        lines += [f"  {name:15} {size:>9,}" for name, size in region.parts.items()]
    gap = plan.arena_bytes - plan.bound
    lines.append(
        f"arena {plan.arena_bytes:,}; no placement of this order can go below {plan.bound:,} (gap {gap:,})"
    )
    node = plan.order[peak_node(plan)]
    lines.append(f"peak at {node.layer} ({node.op}); alive there:")
    lines += [f"  {size:>9,}  {name}" for name, size in at_peak(graph, plan)]
    return "\n".join(lines) + "\n"
