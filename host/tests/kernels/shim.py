"""C that calls every kernel through its op record: void shim_<kernel>(void **operands, const double *fields).

Each prototype is written out again from the record, so a header that differs does not compile.
"""

from __future__ import annotations

from mcugrad.codegen.names import C_TYPES
from mcugrad.ops.op import OPS, Arg, Op

HEADERS = ["conv", "conv_dw_sgd", "conv_part", "dynamic", "elementwise", "linear", "loss", "pool", "update"]
FIELDS = {
    "conv": "in_h in_w in_c out_h out_w out_c kernel_h kernel_w stride pad pad_top "
    "zero_in zero_out shift offset work",
    "merge": "rows last trained",
    "clamp": "n c",
    "add": "n m1 m2 c sh",
    "scale_dx": "n m",
    "sum_dx": "n offset_a offset_b",
    "gather": "n c k",
    "avgpool": "n c mult shift zero_in zero_out",
    "avgpool_dx": "n c m",
    "linear": "features classes zero scale",
    "count": "n",
    "share": "least most",
    "sgd": "co n inner offset trained last",
    "sgd_int8": "co n inner offset trained last key",
}
for _mode in ("sgd", "sgd_int8"):
    _parts = [f"conv.{f}" for f in FIELDS["conv"].split()] + [f"sgd.{f}" for f in FIELDS[_mode].split()]
    FIELDS[f"conv_{_mode}"] = " ".join([*_parts, "planes"])
FIELDS["conv_part"] = " ".join([*(f"conv.{f}" for f in FIELDS["conv"].split()), "trained"])


def c_type(op: Op, arg: Arg) -> str:
    name = "mg_scale" if arg.scale else C_TYPES[arg.dtype]
    written = arg in op.outs or arg.name in op.inout
    return f"{'' if written else 'const '}{name} *"


def prototype(op: Op) -> str:
    outs, ins = ([c_type(op, a) for a in args] for args in (op.outs, op.ins))
    work = ["int32_t *"] if op.work else []
    return f"void {op.kernel}({', '.join([*outs, *work, *ins])}, const mg_{op.params}_params *);"


def shim(op: Op) -> str:
    fields = FIELDS[op.params].split()
    values = ", ".join(f".{f} = (__typeof__(p.{f}))v[{i}]" for i, f in enumerate(fields))
    args = ", ".join(f"o[{i}]" for i in range(len((*op.outs, *op.ins)) + bool(op.work)))
    return f"""{prototype(op)}
void shim_{op.kernel}(void **o, const double *v);
void shim_{op.kernel}(void **o, const double *v) {{
    mg_{op.params}_params p = {{{values}}};
    _Static_assert(sizeof p == 4 * {len(fields)}, "fields of mg_{op.params}_params");
    {op.kernel}({args}, &p);
}}
"""


def source() -> str:
    includes = "".join(f'#include "{h}.h"\n' for h in HEADERS)
    return includes + "\n".join(shim(op) for op in OPS.values())
