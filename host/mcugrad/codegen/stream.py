"""Streams in C: a table of calls in flash, and a loop over it; how the sample gets in."""

from __future__ import annotations

from collections.abc import Mapping

from mcugrad import ops
from mcugrad.ir import Graph
from mcugrad.plan.memory import Plan
from mcugrad.plan.rows import maps, row_bytes
from mcugrad.plan.stream import FEED, Step, Stream

COLUMNS = 5  # of the table
_ROWS = "in", "more"  # its members that tell where operands are


def row_type(plan: Plan) -> str:
    """The smallest integer type for rows and nodes of every stream."""
    numbers = [n for s in plan.streams for step in s.steps for n in _fields(s, step)]
    return "uint8_t" if max(numbers, default=0) < 256 else "uint16_t"


def stream_source(graph: Graph, plan: Plan, c: Mapping[str, str], k: int) -> str:
    """The table and the function of stream k."""
    s = plan.streams[k]
    cases = [_case(graph, plan, c, s, i) for i in range(s.first, s.last + 1)]
    cases += [_feed_case(graph, c, s)] if s.feed else []
    about, head, tail = _fed(s, k) if s.feed else _unfed(s, k)
    return f"""/* {{call, drop, to, in, more, rows, pad}} */
static const mg_rows rows{k}[] = {{
{_table(s)}
}};

/* Nodes {s.first} to {s.last}, some rows at a time{about}. */
{head}
        mg_step_mark({k}, (int)(r - rows{k}));
        {_locals(plan, s)}
        switch (r->call) {{
{chr(10).join(cases)}
        }}
    }}
{tail}}}
"""


def _unfed(s: Stream, k: int) -> tuple[str, str, str]:
    head = f"""static void stream{k}(void) {{
    for (const mg_rows *r = rows{k}; r < rows{k} + {len(s.steps)}; r++) {{"""
    return "", head, ""


def _fed(s: Stream, k: int) -> tuple[str, str, str]:
    head = f"""static const mg_rows *stream{k}(const mg_rows *r) {{
    for (; r < rows{k} + {len(s.steps)}; r++) {{"""
    return ", from step r to the one, returned, that takes rows of the sample", head, "    return r;\n"


def _locals(plan: Plan, s: Stream) -> str:
    add = [plan.order[i].op == "add" for i in range(s.first, s.last + 1)]
    return " ".join(["mg_conv_params p;"] * (not all(add)) + ["mg_add_params a;"] * any(add))


def take_source(graph: Graph, plan: Plan, c: Mapping[str, str]) -> str:
    """mg_take: to where the sample lies whole, or into the first stream."""
    x = c[graph.inputs[0].name]
    if not plan.feeds:
        return f"""void mg_take(const int8_t *bytes, uint32_t at, uint32_t n) {{
    mg_feed_begin();
    memcpy({x} + at, bytes, n);
}}
"""
    row = row_bytes(graph, graph.inputs[0].name)
    return f"""/* The step of stream 0 that takes rows of the sample, and where in it they begin. */
static struct {{
    const mg_rows *rows;
    uint32_t start;
}} feed;

void mg_take(const int8_t *bytes, uint32_t at, uint32_t n) {{
    if (at == 0) {{
        mg_feed_begin();
        feed.start = 0;
        feed.rows = stream0(rows0);
    }}
    while (n) {{
        const uint32_t end = feed.start + feed.rows->rows * {row}u, some = n < end - at ? n : end - at;
        memcpy({x} + feed.rows->to * {row} + (at - feed.start), bytes, some);
        bytes += some, at += some, n -= some;
        if (at == end) {{
            mg_feed_start();
            feed.rows = stream0(feed.rows + 1);
            feed.start = at;
            mg_feed_end();
        }}
    }}
}}
"""


def _fields(s: Stream, step: Step) -> list[int]:
    start, *more = (*step.ins, step.rows_in) if step.ins else (0, 0)
    return [_number(s, step), step.drop, step.to, start, more[0], step.rows, step.pad]


def _number(s: Stream, step: Step) -> int:
    """Of the call in the table: a node of the stream, or, after those, the sample's rows."""
    return s.last + 1 - s.first if step.node == FEED else step.node - s.first


def _table(s: Stream) -> str:
    entries = [f"{{{', '.join(map(str, _fields(s, step)))}}}" for step in s.steps]
    lines = [", ".join(entries[i : i + COLUMNS]) for i in range(0, len(entries), COLUMNS)]
    return ",\n".join(f"    {line}" for line in lines)


def _case(graph: Graph, plan: Plan, c: Mapping[str, str], s: Stream, i: int) -> str:
    """A node's call, its parameters those of the rows."""
    node = plan.order[i]
    out, row = node.outs[0], row_bytes(graph, node.outs[0])
    operands = maps(graph, node)
    reads = [f"{c[n]} + r->{at} * {row_bytes(graph, n)}" for n, at in zip(operands, _ROWS, strict=False)]
    consts = [c[n] for n in node.ins if n not in operands]
    add = node.op == "add"
    sets = f"mg_add_rows(&a, &p{i}, {row}, r);" if add else f"mg_conv_rows(&p, &p{i}, r);"
    op = ops.get(node.op)
    rest = [] if add else ["0"]
    rest += [c.get(node.work, "0")] if op.work else []
    args = [f"mg_out_row({c[out]}, {row}, r)", *rest, *reads, *consts, "&a" if add else "&p"]
    kept = f", {s.windows[out]} rows of {graph.value(out).shape[0]}" if out in s.windows else ""
    call = f"{op.kernel}({', '.join(args)});"
    return f"""        case {i - s.first}: /* {node.layer}{kept} */
            {sets}
            {call}
            break;"""


def _feed_case(graph: Graph, c: Mapping[str, str], s: Stream) -> str:
    x, row, rows = c[s.feed], row_bytes(graph, s.feed), graph.value(s.feed).shape[0]
    return f"""        case {s.last + 1 - s.first}: /* the sample, {s.windows[s.feed]} rows of {rows} */
            mg_out_row({x}, {row}, r);
            return r;"""
