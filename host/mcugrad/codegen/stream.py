"""Streams in C: a table of calls in flash, and a loop over it."""

from __future__ import annotations

from collections.abc import Mapping

from mcugrad import ops
from mcugrad.ir import Graph
from mcugrad.plan.memory import Plan
from mcugrad.plan.stream import Step, Stream, maps, row_bytes

COLUMNS = 5  # of the table


def row_type(plan: Plan) -> str:
    """The smallest integer type for rows and nodes of every stream."""
    numbers = [n for s in plan.streams for step in s.steps for n in _fields(s, step)]
    numbers += [step.node - s.first for s in plan.streams for step in s.steps]
    return "uint8_t" if max(numbers, default=0) < 256 else "uint16_t"


def stream_source(graph: Graph, plan: Plan, c: Mapping[str, str], k: int) -> str:
    """The table and the function of stream k."""
    s = plan.streams[k]
    cases = "\n".join(_case(graph, plan, c, s, i) for i in range(s.first, s.last + 1))
    add = [plan.order[i].op == "add" for i in range(s.first, s.last + 1)]
    locals_ = ["mg_conv_params p;"] * (not all(add)) + ["mg_add_params a;"] * any(add)
    return f"""/* {{call, drop, to, {{in}}, rows_in, rows, pad}} */
static const mg_rows rows{k}[] = {{
{_table(s)}
}};

/* Nodes {s.first} to {s.last}, some rows at a time. */
static void stream{k}(void) {{
    for (const mg_rows *r = rows{k}; r < rows{k} + {len(s.steps)}; r++) {{
        {" ".join(locals_)}
        switch (r->call) {{
{cases}
        }}
    }}
}}
"""


def _fields(s: Stream, step: Step) -> list[int]:
    return [step.node - s.first, step.drop, step.to, *step.ins, step.rows_in, step.rows, step.pad]


def _table(s: Stream) -> str:
    entries = [_entry(s, step) for step in s.steps]
    lines = [", ".join(entries[i : i + COLUMNS]) for i in range(0, len(entries), COLUMNS)]
    return ",\n".join(f"    {line}" for line in lines)


def _entry(s: Stream, step: Step) -> str:
    ins = ", ".join(map(str, (*step.ins, 0)[:2]))
    call, rest = step.node - s.first, f"{step.rows_in}, {step.rows}, {step.pad}"
    return f"{{{call}, {step.drop}, {step.to}, {{{ins}}}, {rest}}}"


def _case(graph: Graph, plan: Plan, c: Mapping[str, str], s: Stream, i: int) -> str:
    """A node's call, its parameters those of the rows."""
    node = plan.order[i]
    out, row = node.outs[0], row_bytes(graph, node.outs[0])
    operands = maps(graph, node)
    reads = [f"{c[n]} + r->in[{k}] * {row_bytes(graph, n)}" for k, n in enumerate(operands)]
    consts = [c[n] for n in node.ins if n not in operands]
    add = node.op == "add"
    sets = f"mg_add_rows(&a, &p{i}, {row}, r);" if add else f"mg_conv_rows(&p, &p{i}, r);"
    mask = [] if add else ["0"]
    args = [f"mg_out_row({c[out]}, {row}, r)", *mask, *reads, *consts, "&a" if add else "&p"]
    kept = f", {s.windows[out]} rows of {graph.value(out).shape[0]}" if out in s.windows else ""
    call = f"{ops.get(node.op).kernel}({', '.join(args)});"
    return f"""        case {i - s.first}: /* {node.layer}{kept} */
            {sets}
            {call}
            break;"""
