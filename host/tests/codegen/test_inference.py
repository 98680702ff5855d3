"""A network of which nothing trains: the same forward pass, and no state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcugrad import boards, interp
from mcugrad.codegen.c import write
from mcugrad.config import Job
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.hostmodel import HostModel
from mcugrad.pipeline import compile_model
from mcugrad.prepare import prepare
from tests.networks import sample


def test_forward_pass_alone(tmp_path: Path) -> None:
    forward = models.load("digits-tiny", 10)
    compiled = compile_model(forward, "inference", boards.load("nucleo_f746zg"))
    assert compiled.manifest["state_bytes"] == 0
    assert compiled.manifest["forward_nodes"] == len(compiled.manifest["nodes"])
    model = HostModel(write(compiled.emitted, tmp_path / "gen"), tmp_path / "model.so")
    for seed in range(3):
        x = sample(forward, seed)
        wanted = interp.forward(compiled.graph, {forward.inputs[0].name: x, **interp.scalars(seed)})
        assert np.float32(model.forward(x, seed).loss) == wanted["loss"][0]
        assert np.float32(model.step(x, seed, 0.1).loss) == wanted["loss"][0]
    assert model.state_bytes() == b""


def test_training_it_is_refused() -> None:
    job = Job()
    job = job.model_copy(update={"model": job.model.model_copy(update={"scheme": "inference"})})
    with pytest.raises(UserError, match="trains nothing"):
        prepare(job, lambda _: None)
