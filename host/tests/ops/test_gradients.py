"""Every gradient op against torch autograd in float64, on random shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as fn

from mcugrad import ops
from mcugrad.ir.graph import Array

SEEDS = range(12)


def geometry(rng: np.random.Generator, depthwise: bool) -> dict[str, int]:
    ci = int(rng.choice([1, 3, 4, 5, 17]))
    return {
        "h": int(rng.integers(1, 10)),
        "w": int(rng.integers(1, 10)),
        "ci": ci,
        "co": ci if depthwise else int(rng.choice([1, 2, 7, 16])),
        "k": int(rng.choice([1, 3, 5, 7])),
        "stride": int(rng.integers(1, 3)),
        "zero": int(rng.choice([-128, 0, 127, 3])),
    }


def convolution(rng: np.random.Generator, depthwise: bool) -> tuple[dict[str, int], Array, Array, Array]:
    g = geometry(rng, depthwise)
    x = rng.integers(-128, 128, (g["h"], g["w"], g["ci"])).astype(np.int8)
    shape = (g["k"], g["k"], g["ci"]) if depthwise else (g["co"], g["k"], g["k"], g["ci"])
    w = rng.integers(-128, 128, shape).astype(np.int8)
    out = [(n + 2 * (g["k"] // 2) - g["k"]) // g["stride"] + 1 for n in (g["h"], g["w"])]
    da = rng.integers(-(2**12), 2**12, (*out, g["co"])).astype(np.int16)
    return g, x, w, da


def torch_gradients(g: dict[str, int], x: Array, w: Array, da: Array, depthwise: bool) -> tuple[Array, Array]:
    """(dx HWC, dw in the kernel's layout) of sum(conv(x - zero, w) * da)."""
    tx = torch.tensor(x.astype(np.float64) - g["zero"]).permute(2, 0, 1)[None].requires_grad_(True)
    kernel = w.transpose(2, 0, 1)[:, None] if depthwise else w.transpose(0, 3, 1, 2)
    tw = torch.tensor(kernel.astype(np.float64)).requires_grad_(True)
    acc = fn.conv2d(tx, tw, None, g["stride"], g["k"] // 2, groups=g["ci"] if depthwise else 1)
    (acc * torch.tensor(da.astype(np.float64)).permute(2, 0, 1)[None]).sum().backward()
    dw = tw.grad.numpy()[:, 0].transpose(1, 2, 0) if depthwise else tw.grad.numpy().transpose(0, 2, 3, 1)
    return tx.grad.numpy()[0].transpose(1, 2, 0), dw


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_convolution(seed: int, depthwise: bool) -> None:
    g, x, w, da = convolution(np.random.default_rng(seed), depthwise)
    dx_ref, dw_ref = torch_gradients(g, x, w, da, depthwise)
    attrs = {"stride": g["stride"], "pad": g["k"] // 2, "zero_in": g["zero"]}
    name = "depthwise_conv2d" if depthwise else "conv2d"
    (dw,) = ops.get(f"{name}_dw").ref(da, x, kernel=(g["k"], g["k"]), **attrs)
    assert (dw == dw_ref).all()
    (db,) = ops.get("conv2d_db").ref(da)
    assert (db == da.sum((0, 1), dtype=np.int64)).all()
    scale, start = np.array([-3, 0, 0, 12], np.int16), np.array([0, 8, 0, 0], np.int16)
    for _ in range(2):  # the second time the expected growth is right
        dx, start = ops.get(f"{name}_dx").ref(da, w, scale, start, offset=5, in_shape=x.shape[:2], **attrs)
    unit = 2.0 ** (start[0] - 2)
    assert np.abs(dx * unit - dx_ref).max() <= unit / 2
    assert start[2] <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_clamp_and_scales(seed: int) -> None:
    """Elementwise gradients: the real factor, to within half a unit of the last place."""
    rng = np.random.default_rng(seed)
    factors = rng.uniform(1e-4, 1e-2, 5)
    m, k = ops.op.gradient_multiplier(factors)
    dy = rng.integers(-(2**14), 2**14, (3, 2, 5)).astype(np.int16)
    keep = rng.random((3, 2, 5)) < 0.7
    (da,) = ops.get("clamp_dx").ref(dy, ops.fixed.pack_bits(keep), m)
    assert np.abs(da * 2.0**-k - np.where(keep, dy * factors, 0)).max() <= 2.0**-k * 0.501
    (spread,) = ops.get("avgpool_dx").ref(dy[0, 0], m=int(m[0]), in_shape=(4, 3))
    assert np.abs(spread * 2.0**-k - dy[0, 0] * (m[0] / 2**31) * 2.0**-k).max() <= 2.0**-k * 0.501
    assert spread.shape == (4, 3, 5)
    (scaled,) = ops.get("scale_dx").ref(dy, m=int(m[1]))
    assert (scaled == ops.fixed.scale_by(dy, int(m[1]))).all()


@pytest.mark.parametrize("gap", [-30, -9, -1, 0, 1, 9, 30])
def test_sum_of_gradients_with_far_exponents(gap: int) -> None:
    rng = np.random.default_rng(gap + 50)
    a, b = (rng.integers(-4000, 4000, (2, 3, 4)).astype(np.int16) for _ in range(2))
    sa, sb = np.array([gap, 0, 0, 12], np.int16), np.array([0, 0, 0, 12], np.int16)
    state = np.array([0, 0, 0, 0], np.int16)
    for _ in range(2):
        q, state = ops.get("sum_dx").ref(a, b, sa, sb, state, offset_a=-2, offset_b=1)
    exact = a * 2.0 ** (gap - 2) + b * 2.0
    assert np.abs(q * 2.0 ** state[0] - exact).max() <= 2.0 ** state[0] * 0.51


@pytest.mark.parametrize("classes", [2, 3, 10, 102])
def test_head_and_loss(classes: int) -> None:
    rng = np.random.default_rng(classes)
    x = rng.integers(-128, 128, 17).astype(np.int8)
    w, b = rng.normal(0, 0.2, (classes, 17)).astype(np.float32), rng.normal(0, 1, classes).astype(np.float32)
    head = {"zero": -5, "scale": 0.03}
    (logits,) = ops.get("linear").ref(x, w, b, **head)
    loss, predicted, dlogits = ops.get("softmax_xent").ref(logits, np.array([1], np.int32))
    (dx,) = ops.get("linear_dx").ref(dlogits, w, **head)
    w2, b2 = ops.get("linear_sgd").ref(w, b, dlogits, x, np.array([0.5], np.float32), **head)

    tx = torch.tensor(x.astype(np.float64)).requires_grad_(True)
    tw, tb = (torch.tensor(p.astype(np.float64)).requires_grad_(True) for p in (w, b))
    reference = fn.cross_entropy((tw @ ((tx + 5) * 0.03) + tb)[None], torch.tensor([1]))
    reference.backward()
    assert loss[0] == pytest.approx(reference.item(), rel=2e-6)
    assert predicted[0] == int(np.argmax(logits))
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(w2, w - 0.5 * tw.grad.numpy(), rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(b2, b - 0.5 * tb.grad.numpy(), rtol=2e-5, atol=2e-6)
    q, state = ops.get("quantise_dx").ref(dx, np.array([0, 3, 0, 0], np.int16))
    assert np.abs(q * 2.0 ** state[0] - dx).max() <= 2.0 ** state[0] * 0.501
    assert 2**12 <= np.abs(q).max() <= 2**13


def test_gradient_of_nothing_is_nothing() -> None:
    q, state = ops.get("quantise_dx").ref(np.zeros(3, np.float32), np.array([4, 3, 0, 9], np.int16))
    assert not q.any() and state.tolist() == [0, 3, 0, 0]


@pytest.mark.parametrize("sign", [1, -1])
def test_weight_gradients_saturate_on_large_maps(sign: int) -> None:
    """1,600 pixels of the largest products pass int32; the sum stops at its end instead of wrapping."""
    x = np.full((40, 40, 1), 127, np.int8)
    da = np.full((40, 40, 1), sign * (2**14 - 1), np.int16)
    attrs = {"stride": 1, "pad": 0, "zero_in": -128, "kernel": (1, 1)}
    for name in ("conv2d_dw", "depthwise_conv2d_dw"):
        (dw,) = ops.get(name).ref(da, x, **attrs)
        assert dw.ravel().tolist() == [2**31 - 1 if sign > 0 else -(2**31)]
