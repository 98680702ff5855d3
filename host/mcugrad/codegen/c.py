"""A planned training graph -> model.[hc], params.[hc] and manifest.json, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcugrad import ops
from mcugrad.codegen.names import C_TYPES, literal, operand, unique
from mcugrad.codegen.params import HEAD, params_header, params_source, state_layout
from mcugrad.codegen.stream import row_type, stream_source, take_source
from mcugrad.codegen.tiles import of_tile, tiles_source
from mcugrad.ir import Graph, Node, Quant
from mcugrad.ir.text import print_graph
from mcugrad.ops.op import scale_states
from mcugrad.plan.front import crossing, leading
from mcugrad.plan.memory import Plan
from mcugrad.plan.peak import state_bytes

ARITHMETIC = 3  # rises when the same graph would compute other bits


@dataclass(frozen=True)
class Emitted:
    """Files by name, and what the host must know of them."""

    files: Mapping[str, str]
    manifest: Mapping[str, Any]


def emit(graph: Graph, plan: Plan) -> Emitted:
    """The C of one training step and of inference, and its manifest."""
    c = unique([*graph.params, *graph.values])
    manifest = _manifest(graph, plan)
    files = {
        "model.h": _model_header(graph, plan, manifest),
        "model.c": _model_source(graph, plan, c),
        "params.h": params_header(graph, c),
        "params.c": params_source(graph, c),
        "manifest.json": json.dumps(manifest, indent=1) + "\n",
    }
    return Emitted(files, manifest)


def write(emitted: Emitted, folder: Path) -> Path:
    """Write the files that differ from what is there, so that nothing is rebuilt in vain."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in emitted.files.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    return folder


def model_hash(graph: Graph, plan: Plan) -> str:
    """16 bytes in hex that name graph, weights, order, layout of the state and arithmetic."""
    order = [f"{n.op} {n.layer}" for n in plan.order]
    layout = [(m.name, m.offset) for m in state_layout(graph)]
    text = json.dumps([ARITHMETIC, print_graph(graph), order, layout])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def forward_count(plan: Plan) -> int:
    return sum(ops.get(n.op).phase == "forward" for n in plan.order)


def _manifest(graph: Graph, plan: Plan) -> dict[str, Any]:
    x = graph.inputs[0]
    assert isinstance(x.quant, Quant)
    front = leading(graph, plan.order)
    return {
        "model": graph.name,
        "hash": model_hash(graph, plan),
        "input": {"shape": x.shape, "scale": x.quant.scale, "zero": x.quant.zero, "bytes": x.nbytes},
        "classes": graph.value(graph.outputs["logits"]).size,
        "arena_bytes": plan.arena_bytes,
        "arena_bound": plan.bound,
        "state_bytes": state_bytes(graph),
        "state": [[m.name, m.dtype.value, m.shape, m.offset] for m in state_layout(graph)],
        "forward_nodes": forward_count(plan),
        "front": {"nodes": front, "spans": crossing(graph, plan, front)},
        "feeds": plan.feeds,
        "nodes": [_describe(graph, n) | _stream_of(plan, i) for i, n in enumerate(plan.order)],
        "buffers": [[list(b.values), b.offset, b.size, b.first, b.last] for b in plan.buffers],
    }


def _describe(graph: Graph, node: Node) -> dict[str, Any]:
    op = ops.get(node.op)
    ins, outs = ([graph.value(n) for n in names] for names in (node.ins, node.outs))
    main = (outs or ins)[0]
    shape = "x".join(map(str, ins[0].shape)) + " -> " + "x".join(map(str, main.shape))
    return {"op": node.op, "layer": node.layer, "phase": op.phase, "shape": shape, "macs": op.macs(ins, outs)}


def _stream_of(plan: Plan, i: int) -> dict[str, int]:
    """The number of a node's stream or tiles; all the time of these is their first node's."""
    k = plan.part_of(i)
    return {} if k is None else {"stream": k}


def _model_header(graph: Graph, plan: Plan, manifest: Mapping[str, Any]) -> str:
    return f"""{HEAD.format(what=graph.name)}
#ifndef MG_MODEL_H
#define MG_MODEL_H

#include <stdint.h>

#include "params.h"

#define MG_INPUT_BYTES {manifest["input"]["bytes"]}
#define MG_CLASSES {manifest["classes"]}
#define MG_ARENA_BYTES {manifest["arena_bytes"]}
#define MG_STATE_BYTES {manifest["state_bytes"]}
#define MG_NODES {len(plan.order)}
#define MG_FORWARD_NODES {manifest["forward_nodes"]}

typedef struct {{
    float loss;
    int32_t predicted;
}} mg_result;

extern const uint8_t mg_model_hash[16];
extern const char mg_model_name[];

/* The next n bytes of a sample, int8, HWC, MG_INPUT_BYTES in all; `at` bytes came before, and with 0 a new
 * one begins. Nodes that the rows so far suffice for run now. */
void mg_take(const int8_t *bytes, uint32_t at, uint32_t n);

/* Forward pass and loss for a label below MG_CLASSES; changes no trained value. Uses up the sample. */
void mg_forward(uint32_t label, mg_result *result);

/* Forward, backward and update with learning rate lr; without update where the loss is not finite or nothing
 * trains. Uses up the sample. */
void mg_step(uint32_t label, float lr, mg_result *result);

/* Gradient tensors that clipped, summed over all steps so far. */
uint32_t mg_saturated(void);

#endif
"""


def _model_source(graph: Graph, plan: Plan, c: Mapping[str, str]) -> str:
    forward = forward_count(plan)
    calls = [_call(graph, plan, c, i) for i in range(len(plan.order))]
    parts = [stream_source(graph, plan, c, k) for k in range(len(plan.streams))]
    parts += [tiles_source(graph, plan, c, k) for k in range(len(plan.tiles))]
    structs = [_struct(graph, plan, i) for i in range(len(plan.order))]
    digest = model_hash(graph, plan)
    hash_bytes = ", ".join(f"0x{digest[i : i + 2]}" for i in range(0, 32, 2))
    return f"""{HEAD.format(what=graph.name)}
#include "model.h"

#include <string.h>

#include "conv.h"
#include "conv_dw_sgd.h"
#include "conv_part.h"
#include "dynamic.h"
#include "elementwise.h"
#include "linear.h"
#include "loss.h"
#include "mark.h"
#include "pool.h"
{_stream_header(plan)}{_tile_header(plan)}#include "update.h"

#pragma GCC optimize("Os") /* just calls */

const uint8_t mg_model_hash[16] = {{{hash_bytes}}};
const char mg_model_name[] = "{graph.name}";

__attribute__((section(".arena"), aligned(4))) uint8_t mg_arena[MG_ARENA_BYTES];

{_pointers(graph, plan, c)}
{chr(10).join(structs)}

{"".join(f"{part}{chr(10)}" for part in parts)}{take_source(graph, plan, c)}
static void forward(const int32_t *label, mg_result *result) {{
{"".join(calls[:forward])}}}

void mg_forward(uint32_t label_index, mg_result *result) {{
    const int32_t label = (int32_t)label_index;
    forward(&label, result);
}}

{_step(calls[forward:])}
uint32_t mg_saturated(void) {{
{_wrap(f"    return {_saturated(graph, c)};", 8)}
}}
"""


def _step(calls: list[str]) -> str:
    if not calls:
        return """void mg_step(uint32_t label_index, float lr, mg_result *result) {
    (void)lr;
    mg_forward(label_index, result);
}
"""
    return f"""void mg_step(uint32_t label_index, float lr, mg_result *result) {{
    const int32_t label = (int32_t)label_index;
    forward(&label, result);
    if (!(result->loss - result->loss == 0.0f)) {{
        return; /* infinite or not a number */
    }}
{"".join(calls)}}}
"""


def _saturated(graph: Graph, c: Mapping[str, str]) -> str:
    terms = [f"mg_state.{c[name]}.saturated" for name in sorted(scale_states(graph))]
    return f"(uint32_t)({' + '.join(terms)})" if terms else "0"


def _pointers(graph: Graph, plan: Plan, c: Mapping[str, str]) -> str:
    lines = []
    for name, offset in plan.offsets.items():
        v = graph.value(name)
        kind = C_TYPES[v.dtype]
        about = f"/* {v.dtype.value}{list(v.shape)} */"
        lines.append(f"static {kind} *const {c[name]} = ({kind} *)(mg_arena + {offset}); {about}")
    return "\n".join(lines) + "\n"


def _struct(graph: Graph, plan: Plan, i: int) -> str:
    node, t = plan.order[i], next((t for t in plan.tiles if t.first <= i <= t.last), None)
    op = ops.get(node.op)
    ins, outs = (
        [of_tile(graph, t, i, n) if t else graph.value(n) for n in names] for names in (node.ins, node.outs)
    )
    fields = op.fields(ins, outs, {**node.attrs, "work": plan.scratch(graph, node)})
    members = ", ".join(f".{k} = {literal(v)}" for k, v in fields.items())
    return _wrap(f"static const mg_{op.params}_params p{i} = {{{members}}};", 4)


def _stream_header(plan: Plan) -> str:
    return f'#define MG_ROW {row_type(plan)}\n#include "stream.h"\n' if plan.streams else ""


def _tile_header(plan: Plan) -> str:
    return '#include "tile.h"\n' if plan.tiles else ""


def _call(graph: Graph, plan: Plan, c: Mapping[str, str], i: int) -> str:
    """The call of a node; a stream or tiles are called where their first node is, and their marks follow."""
    k, node = plan.part_of(i), plan.order[i]
    if k is not None:
        called = _part(plan, k)
        call = f"    mg_node({i}) {called[1]}\n" if i == called[0] else ""
        return f"{call}    mg_mark({i}); /* {node.layer} */\n"
    op = ops.get(node.op)
    outs = [operand(graph, c, n) for n in node.outs] + ["0"] * (len(op.outs) - len(node.outs))
    outs += [c.get(node.work, "0")] if op.work else []
    ins = [operand(graph, c, n) for n in node.ins] + ["0"] * (len(op.ins) - len(node.ins))
    about = _describe(graph, node)
    call = f"    mg_node({i}) {op.kernel}({', '.join([*outs, *ins, f'&p{i}'])});"
    return f"    /* {node.layer}: {about['shape']} */\n{_wrap(call, 8)}\n    mg_mark({i});\n"


def _part(plan: Plan, k: int) -> tuple[int, str]:
    """Where part k of the order is called, and how; a stream that takes the sample runs before: nowhere."""
    if k < len(plan.streams):
        s = plan.streams[k]
        return (-1 if s.feed else s.first), f"stream{k}();"
    k -= len(plan.streams)
    return plan.tiles[k].first, f"tiles{k}(lr);"


def _wrap(line: str, indent: int) -> str:
    return textwrap.fill(line, 110, subsequent_indent=" " * indent, break_long_words=False)
