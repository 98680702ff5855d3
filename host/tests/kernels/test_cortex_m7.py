"""The kernels as Cortex-M7 code, in QEMU: the DSP instructions have the bits that their C twins have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcugrad import ops
from mcugrad.ir.graph import Array
from mcugrad.ops import fixed
from mcugrad.paths import KERNELS
from tests.kernels import arrays, shim
from tests.kernels.run import field_values, work_of
from tests.kernels.test_conv import MATRICES
from tests.kernels.test_update import MODES, kept, key

HERE = Path(__file__).parent / "cortex_m7"
CPU = ["-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"]
FLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-ffunction-sections"]
LINK = ["--specs=nosys.specs", "-nostartfiles", "-Wl,--gc-sections"]
TOOLS = ["arm-none-eabi-gcc", "qemu-system-arm"]


class Program:
    """Cases as C; operands lie at a multiple of eight or, in every other case, a byte after one, or a word if
    they are not of bytes."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.cases: list[str] = []

    def case(self, label: str, name: str, *ins: Array, drop: tuple[str, ...] = (), **attrs: Any) -> None:
        """drop: results passed as NULL."""
        op, k = ops.get(name), f"c{len(self.cases)}"
        expected = op.ref(*ins, **attrs)
        outs = [np.zeros_like(e) for e in expected[: len(op.outs)]]
        scratch = work_of(op, ins, attrs)
        words = scratch.least if len(self.cases) % 3 == 0 else scratch.most
        work = [np.zeros(words, np.int32)] if op.work else []
        names = [*(a.name for a in op.outs), *["work" for _ in work], *(a.name for a in op.ins)]
        given = [
            "0" if name in drop else self._bytes(f"{k}_{i}", a)
            for i, (name, a) in enumerate(zip(names, [*outs, *work, *ins], strict=True))
        ]
        labels = [a.name for a in op.outs] + [a.name for a in op.ins if a.name in op.inout]
        found = [given[names.index(label)] for label in labels]
        kept = [i for i, name in enumerate(labels) if name not in drop]
        found, expected = [found[i] for i in kept], tuple(expected[i] for i in kept)
        wanted = [self._bytes(f"{k}_e{i}", np.ascontiguousarray(e)) for i, e in enumerate(expected)]
        self._array("void *", f"{k}_operands", given)
        self._array(
            "const double ", f"{k}_fields", [float(v).hex() for v in field_values(op, ins, attrs, words)]
        )
        self._array("const void *const ", f"{k}_found", found)
        self._array("const void *const ", f"{k}_expected", wanted)
        self._array("const unsigned ", f"{k}_sizes", [str(e.nbytes) for e in expected])
        call = f'"{label}", shim_{op.kernel}, {k}_operands, {k}_fields, {len(expected)}'
        self.cases.append(f"    {{{call}, {k}_found, {k}_expected, {k}_sizes}},")

    def source(self) -> str:
        table = "\n".join(["const test_case cases[] = {", *self.cases, "};"])
        count = f"const int case_count = {len(self.cases)};"
        return "\n".join([shim.source(), '#include "cases.h"', *self.text, table, count, ""])

    def _bytes(self, name: str, a: Array) -> str:
        before = (1 if a.itemsize == 1 else 4) if len(self.cases) % 2 else 8
        values = ",".join(map(str, bytes(before) + a.tobytes()))
        self.text.append(f"static uint8_t {name}[] __attribute__((aligned(8))) = {{{values}}};")
        return f"{name} + {before}"

    def _array(self, kind: str, name: str, values: list[str]) -> None:
        self.text.append(f"static {kind}{name}[] = {{{', '.join(values)}}};")


def convolutions(
    program: Program, op: str, h: int, w: int, kernel: int, stride: int, ci: int, co: int
) -> None:
    """Forward and all three gradients of one shape."""
    depthwise = op.startswith("depthwise")
    label = f"{op} {h}x{w} {kernel}/{stride} {ci}->{co}"
    weights = arrays.s8(kernel, kernel, ci) if depthwise else arrays.s8(co, kernel, kernel, ci)
    x, pad = arrays.s8(h, w, ci), kernel // 2
    attrs = {"stride": stride, "pad": pad, "zero_in": -128, "zero_out": 3, "shift": 0}
    b, m = arrays.s32(90000, co), (arrays.multiplier(co) // 200).astype(np.int32)
    program.case(label, op, x, weights, b, m, **attrs)
    oh, ow = ((n + 2 * pad - kernel) // stride + 1 for n in (h, w))
    da, geometry = arrays.gradient(oh, ow, co), {"stride": stride, "pad": pad}
    states = (
        np.array([-9, 1, 0, 14], np.int16),
        np.array([-20, int(arrays.RNG.integers(2, 9)), 2, 3], np.int16),
    )
    program.case(f"{label} dx", f"{op}_dx", da, weights, *states, in_shape=(h, w), offset=-2, **geometry)
    for growth in (7, 9, 10, 11):  # sums are clipped, seldom, or not at all; a shift too far for the variant
        few, state = (da // 8).astype(np.int16), np.array([-20, growth, 2, 3], np.int16)
        about = geometry | {"in_shape": (h, w), "offset": -2}
        program.case(f"{label} dx {growth}", f"{op}_dx", few, weights, states[0], state, **about)
    program.case(f"{label} dw", f"{op}_dw", da, x, zero_in=-128, kernel=(kernel, kernel), **geometry)
    program.case(f"{label} db", "conv2d_db", da)
    mask = fixed.pack_bits(arrays.RNG.random(da.size) < 0.6)
    program.case(f"{label} clamp", "clamp_dx", da, mask, arrays.multiplier(co))


def all_convolutions(program: Program) -> None:
    for h, w, ci, co in [
        (4, 4, 8, 24),
        (5, 5, 12, 8),
        (1, 1, 16, 4),
        (3, 4, 20, 6),
        (2, 3, 7, 5),
        (17, 16, 4, 4),
    ]:
        convolutions(program, "conv2d", h, w, 1, 1, ci, co)
    convolutions(program, "conv2d", 11, 20, 3, 2, 3, 16)
    convolutions(program, "conv2d", 6, 5, 5, 1, 4, 2)
    for kernel in (3, 5, 7):
        for h, w, stride in [(4, 4, 1), (9, 7, 1), (8, 8, 2), (7, 9, 2), (1, 2, 2), (3, 40, 1), (2, 70, 2)]:
            convolutions(program, "depthwise_conv2d", h, w, kernel, stride, 8, 8)
    convolutions(program, "depthwise_conv2d", 5, 5, 3, 1, 5, 5)


def matrices(program: Program) -> None:
    """Few and many pixels, masked and not, trained in part or not; every number of steps modulo a round's."""
    trained = np.array([1, 2, 7], np.int32)
    for h, w, ci, co in MATRICES:
        label, attrs = (
            f"{h}x{w} {ci}->{co}",
            {"stride": 1, "pad": 0, "zero_in": -128, "zero_out": 3, "shift": 0},
        )
        b, m = arrays.s32(90000, co), (arrays.multiplier(co) // 900).astype(np.int32)
        ins = arrays.s8(h, w, ci), arrays.s8(co, 1, 1, ci), b, m
        for drop in ((), ("mask",)):
            program.case(f"conv {label} {drop}", "conv2d", *ins, drop=drop, **attrs)
            if co % 4 == 0:
                gradients(program, label, ins[1], arrays.gradient(h, w, co), ins[0], trained)
                part = arrays.s8(co, 1, 1, len(trained)), trained
                program.case(f"part {label} {drop}", "conv2d_part", *ins, *part, drop=drop, **attrs)


def gradients(program: Program, label: str, w: Array, da: Array, x: Array, trained: Array) -> None:
    """Of a matrix product; of the weights' with one input channel less."""
    states = np.array([-9, 1, 0, 14], np.int16), np.array([-20, 7, 2, 3], np.int16)
    about = {"stride": 1, "pad": 0}
    shape = {"in_shape": x.shape[:2], "offset": -2, **about}
    program.case(f"dx {label}", "conv2d_dx", da, w, *states, **shape)
    part = arrays.s8(*w.shape[:3], len(trained)), trained
    program.case(f"dx part {label}", "conv2d_dx_part", da, w, *states, *part, **shape)
    for own in (x, x[..., 1:]):
        program.case(f"dw {label}", "conv2d_dw", da, own, zero_in=-128, kernel=(1, 1), **about)


def everything_else(program: Program) -> None:
    n, state = 45, np.array([-9, 1, 0, 14], np.int16)
    program.case("add", "add", arrays.s8(n), arrays.s8(n), m1=20000, m2=-16000, c=1 << 20, sh=15)
    program.case("scale_dx", "scale_dx", arrays.gradient(n), m=(1 << 31) - 9)
    grads = arrays.gradient(n), arrays.gradient(n)
    program.case("sum_dx", "sum_dx", *grads, state, state + 3, state, offset_a=1, offset_b=-3)
    program.case("avgpool", "avgpool", arrays.s8(4, 4, 13), mult=1 << 27, shift=1, zero_in=-128, zero_out=5)
    program.case("avgpool_dx", "avgpool_dx", arrays.gradient(13), m=1 << 30, in_shape=(4, 4))
    w, b, d, x = arrays.f32(10, n), arrays.f32(10), arrays.f32(10), arrays.s8(n)
    head = {"zero": -7, "scale": 0.0235}
    program.case("linear", "linear", x, w, b, **head)
    program.case("linear_dx", "linear_dx", d, w, **head)
    program.case("linear_sgd", "linear_sgd", w, b, d, x, arrays.rate(), **head)
    for value in (0.3, np.nan):
        program.case("quantise_dx", "quantise_dx", np.append(arrays.f32(n), np.float32(value)), state)
    program.case("softmax_xent", "softmax_xent", arrays.f32(10) * np.float32(9), np.array([4], np.int32))
    coef = np.abs(arrays.f32(6)) * np.float32(3000)
    for lr in (0.01, 1e30, np.nan):
        w8, dw, rest = arrays.s8(6, 1, 1, 9), arrays.s32(1 << 24, 6, 1, 1, 9), (coef, state, arrays.rate(lr))
        moved, db = arrays.gradient(6), arrays.s32(1 << 24, 6)
        program.case("bias", "bias", arrays.s32(1 << 29, 6), moved)
        for mode in MODES:
            about = {"offset": -4, **key(mode)}
            program.case(f"sgd{mode}", f"sgd{mode}", w8, kept(mode, 6, 1, 1, 9), dw, *rest, inner=0, **about)
            program.case(f"sgd_bias{mode}", f"sgd_bias{mode}", moved, kept(mode, 6), db, *rest, **about)


def fused(program: Program) -> None:
    """Weight gradient and update in one."""
    state, pixels = np.array([-9, 1, 0, 14], np.int16), {"stride": 1, "pad": 0, "kernel": (1, 1)}
    for ci, co, k in ((8, 70, 1), (7, 20, 1), (5, 5, 1), (4, 36, 3)):
        about = pixels | {"pad": k // 2, "kernel": (k, k), "zero_in": -128, "offset": -14, "inner": 0}
        da, x, w = arrays.gradient(5, 4, co), arrays.s8(5, 4, ci), arrays.s8(co, k, k, ci)
        rates = np.abs(arrays.f32(co)) * np.float32(3000), state, arrays.rate()
        for mode in MODES:
            ins = (w, kept(mode, co, k, k, ci), da, *rates, x)
            program.case(f"dw sgd{mode} {ci}->{co}", f"conv2d_dw_sgd{mode}", *ins, **about, **key(mode))
            if k == 1 and da.shape[0] * da.shape[1] % 4 == 0 and co % 4 == 0:
                rows = (*ins[:-1], np.ascontiguousarray(x.transpose(2, 0, 1)))
                name = f"dw sgd{mode} {ci}->{co} by planes"
                program.case(name, f"conv2d_dw_sgd{mode}", *rows, planes=1, **about, **key(mode))


def dynamic(program: Program) -> None:
    """What lies behind the packed elements is zero on both sides."""
    for c in (3, 12, 30):
        da, x = arrays.gradient(5, 4, c), arrays.s8(5, 4, c)
        program.case(f"norms {c}", "channel_norms", da)
        (norms,), share = ops.get("channel_norms").ref(da), np.array([1500], np.int32)
        program.case(f"top {c}", "top_channels", norms, share, most=c)
        (active,) = ops.get("top_channels").ref(norms, share, most=c)
        program.case(f"gather {c}", "gather_active", x, active)
        program.case(f"gather dx {c}", "gather_active_dx", da, active)
        (part,), own = ops.get("gather_active_dx").ref(da, active), ops.get("gather_active").ref(x, active)
        about = {"stride": 1, "pad": 1, "zero_in": -128, "kernel": (3, 3)}
        program.case(f"dw {c}", "conv2d_dw_dynamic", part, arrays.s8(5, 4, 4), active, **about)
        program.case(f"depthwise dw {c}", "depthwise_conv2d_dw_dynamic", part, *own, active, **about)
        w, frac, dw = np.zeros((c, 1, 1, 8), np.int8), arrays.s8(c, 1, 1, 4), arrays.s32(1 << 24, c, 1, 1, 4)
        rates = np.abs(arrays.f32(c)) * np.float32(3000), arrays.scale_state(), arrays.rate(), active
        program.case(
            f"sgd {c}", "sgd_dynamic", w, frac, dw, *rates, np.arange(1, 8, 2, np.int32), offset=4, inner=0
        )
    for loss, worst in ((0.3, 2.0), (2.5, 1.0), (0.0, 0.0)):
        ins = np.array([loss], np.float32), np.array([worst], np.float32)
        program.case(f"share {loss}", "active_share", *ins, least=512, most=2048)


@pytest.mark.skipif(any(shutil.which(t) is None for t in TOOLS), reason=f"needs {' and '.join(TOOLS)}")
@pytest.mark.parametrize("level", ["-O3", "-Og"])
def test_cortex_m7(tmp_path: Path, level: str) -> None:
    program = Program()
    all_convolutions(program)
    matrices(program)
    everything_else(program)
    fused(program)
    dynamic(program)
    (tmp_path / "cases.c").write_text(program.source())
    sources = [*sorted(KERNELS.glob("*.c")), tmp_path / "cases.c", HERE / "start.c"]
    elf, includes = tmp_path / "kernels.elf", [f"-I{KERNELS}", f"-I{HERE}"]
    link = [*LINK, f"-Wl,-T,{HERE / 'link.ld'}"]
    command = ["arm-none-eabi-gcc", *CPU, *FLAGS, level, *includes, *map(str, sources), *link, "-o", str(elf)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    board = ["-M", "mps2-an500", "-nographic", "-monitor", "none", "-serial", "null"]
    run = ["qemu-system-arm", *board, "-semihosting-config", "enable=on,target=native", "-kernel", str(elf)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"these differ on the Cortex-M7:\n{done.stdout}{done.stderr}"
