"""Channel tiles in C: one loop over the tiles, in it the nodes' calls, each for the tile's channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mcugrad import ops
from mcugrad.codegen.names import operand
from mcugrad.ir import Graph, Node, Value
from mcugrad.plan.memory import Plan
from mcugrad.plan.tiles import DEPTHWISE, PROJECT, Tiles

NUMBERED = ("sgd_bias_int8", "conv2d_dw_sgd_int8")  # the random numbers depend on the channel's


@dataclass(frozen=True)
class Call:
    """A node's lines: before the loop, in it, behind it."""

    body: str
    begin: str = ""
    end: str = ""


def tiles_source(graph: Graph, plan: Plan, c: Mapping[str, str], k: int) -> str:
    """The function of tiles k."""
    t = plan.tiles[k]
    calls = [_call(graph, c, t, plan.order[i], i) for i in range(t.first, t.last + 1)]
    begin, end = ("".join(f"    {line}\n" for line in lines if line) for lines in _around(calls))
    head = _rows(graph, plan, t, calls[: t.head]) if t.head else ""
    body = "".join(f"        {call.body}\n" for call in calls[t.head :])
    return f"""/* Nodes {t.first} to {t.last}, {t.width} of {t.channels} channels at a time. */
static __attribute__((noinline)) void tiles{k}(float lr) {{
{begin}    for (int32_t c = 0; c < {t.channels}; c += {t.width}) {{
{head}{body}    }}
{end}}}
"""


def _rows(graph: Graph, plan: Plan, t: Tiles, calls: list[Call]) -> str:
    """The loop over the rows of the projection's operand."""
    body = "".join(f"            {call.body}\n" for call in calls)
    return f"""        for (int32_t row = 0; row < {_height(graph, plan, t)}; row += {t.rows}) {{
{body}        }}
"""


def _height(graph: Graph, plan: Plan, t: Tiles) -> int:
    """Rows of the projection's operand."""
    return graph.value(plan.order[t.first].outs[0]).shape[0]


def sequence(graph: Graph, plan: Plan, t: Tiles) -> list[int]:
    """The node of each call, in order."""
    rows = _height(graph, plan, t) // t.rows if t.head else 0
    head, rest = range(t.first, t.first + t.head), range(t.first + t.head, t.last + 1)
    return [*[*head] * rows, *rest] * (t.channels // t.width)


def of_tile(graph: Graph, t: Tiles, i: int, name: str) -> Value:
    """An operand or out of node i with the shape that it has in a tile, or in some rows of one."""
    value = graph.value(name)
    shape = list(value.shape)
    if name in t.axes:
        shape[t.axes[name]] = t.width
    if i < t.first + t.head and len(shape) == 3:
        shape[0] = t.rows
    return replace(value, shape=tuple(shape))


def function(t: Tiles, node: Node) -> str:
    """The name of the C function that a node is in a tile."""
    kernel = ops.get(node.op).kernel
    if node.outs and node.outs[0] == t.sums:
        return f"mg_{node.op}_sums_s32"
    return _tile(kernel) if node.op in (PROJECT, DEPTHWISE, "clamp_dx", *NUMBERED) else kernel


def _around(calls: list[Call]) -> tuple[list[str], list[str]]:
    return [call.begin for call in calls], [call.end for call in calls]


def _call(graph: Graph, c: Mapping[str, str], t: Tiles, node: Node, i: int) -> Call:
    if node.outs and node.outs[0] == t.sums:
        return _sums(graph, c, t, node, i)
    if node.op in (PROJECT, DEPTHWISE):
        return _gradient(graph, c, t, node, i)
    if node.outs and node.outs[0] in t.by_rows:
        return _of_rows(graph, c, t, node, i)
    args = [_at(graph, c, t, n) for n in (*node.written, *node.ins)]
    if node.op == "clamp_dx":
        args += ["c", str(t.channels)]
    elif node.op in NUMBERED:
        args += ["c"]
    return Call(f"{function(t, node)}({', '.join(args)}, &p{i});")


def _of_rows(graph: Graph, c: Mapping[str, str], t: Tiles, node: Node, i: int) -> Call:
    """All channels of some rows."""
    out, source, *others = (operand(graph, c, n) for n in (*node.outs, *node.ins))
    _, width, channels = graph.value(node.outs[0]).shape
    at = f"row * {width * channels}"
    args = [out, source if node.ins[0] in t.by_rows else f"{source} + {at}", *others]
    if node.op == "clamp_dx":
        args += [at, str(channels)]
    return Call(f"{function(t, node)}({', '.join(args)}, &p{i});")


def _gradient(graph: Graph, c: Mapping[str, str], t: Tiles, node: Node, i: int) -> Call:
    """Renormalised as one: begun before the first tile, ended behind the last."""
    dx, da, w, da_scale, dx_scale = (operand(graph, c, n) for n in (*node.outs, *node.ins))
    exp, bits = f"({da_scale})->exp + p{i}.offset", f"({da_scale})->bits"
    expected = "MG_GRAD_BITS" if node.op == DEPTHWISE else bits
    if node.ins[0] in t.by_rows:
        dx = f"{dx} + row * {graph.value(node.outs[0]).shape[1] * t.width}"
    work = f"{c.get(node.work, '0')}, " if ops.get(node.op).work else ""
    return Call(
        f"{function(t, node)}({dx}, {work}{da}, {w} + c, {t.channels}, &r{i}, &p{i});",
        f"mg_renorm r{i} = mg_tile_begin({dx_scale}, {exp}, {expected});",
        f"mg_renorm_end(&r{i}, {dx_scale}, {exp}, {bits});",
    )


def _sums(graph: Graph, c: Mapping[str, str], t: Tiles, node: Node, i: int) -> Call:
    """They lie where the gradient will."""
    dx, da, w, da_scale, dx_scale, *part = node.outs[0], *node.ins
    ins = [c[node.work], c[da], *(_at(graph, c, t, n) for n in (w, *part))]
    to, scales = c[dx], [operand(graph, c, n) for n in (da_scale, dx_scale)]
    offset = f"p{i}.{'conv.' if part else ''}offset"
    return Call(
        f"{function(t, node)}((int32_t *){to}, {', '.join(ins)}, &p{i});",
        f"memset({to}, 0, {t.held(graph, dx)});",
        f"mg_sums_dx_s16({to}, (int32_t *){to}, {', '.join(scales)}, {offset}, {graph.value(dx).size});",
    )


def _at(graph: Graph, c: Mapping[str, str], t: Tiles, name: str) -> str:
    """Where the tile begins in what it goes through channel by channel; else where all begins."""
    place, value = operand(graph, c, name), graph.value(name)
    if name in t.inside or t.axes.get(name) != 0:
        return place
    each = value.size // value.shape[0]
    return f"{place} + c * {each}" if each > 1 else f"{place} + c"


def _tile(kernel: str) -> str:
    """mg_<op>_<type> -> mg_<op>_tile_<type>."""
    op, _, kind = kernel.rpartition("_")
    return f"{op}_tile_{kind}"
