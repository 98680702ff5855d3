"""Whole-model gradients of the paper's three models, scheme by scheme, against exact float64 autograd."""

from __future__ import annotations

import numpy as np
import pytest

from mcugrad import data, interp
from mcugrad.errors import UserError
from mcugrad.frontend import models, paper
from mcugrad.ir.graph import Array
from mcugrad.passes.schemes import SCHEMES
from mcugrad.pipeline import training_graph
from tests.reference import torch_reference
from tests.training import cosine, real_gradients, settled, trained_part

CASES = [(model, scheme) for model in paper.MODELS for scheme in SCHEMES[model]]
BAR = 0.999


@pytest.fixture(scope="module")
def photos() -> list[Array]:
    """Four flowers as the board sees them, int8 [128,128,3]."""
    try:
        x = data.load("flowers102").x_train[[3, 400, 900, 1200]]
    except UserError:
        pytest.skip("flowers102 is not here: set MCUGRAD_DATA")
    return [(image.astype(np.int16) - 128).astype(np.int8) for image in x]


@pytest.mark.parametrize(("model", "scheme"), CASES)
def test_every_trained_tensor(model: str, scheme: str, photos: list[Array]) -> None:
    forward = models.load(model, 10)
    graph = training_graph(forward, scheme)
    state = settled(graph, [(x, label) for label, x in enumerate(photos[:3])])
    env, _ = interp.run(graph, {"x": photos[3]} | interp.scalars(5, 0.0), state)
    found = real_gradients(graph, env)
    exact = torch_reference.gradients(forward, photos[3], 5, list(found))
    for name, gradient in found.items():
        reference = trained_part(graph, name, exact[name])
        assert cosine(gradient, reference) >= BAR, name
        assert np.linalg.norm(gradient) == pytest.approx(np.linalg.norm(reference), rel=0.02), name
