"""Both paths through the kernels on this machine: the portable one, and the chip's with the C twins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernels.run import SANITIZERS, Kernels


@pytest.fixture(scope="session", params=["portable", "chip"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    folder = tmp_path_factory.mktemp(f"kernels_{request.param}")
    defines = ["MG_FAST=1"] if request.param == "chip" else []
    return Kernels(folder, defines, [f"-fsanitize={SANITIZERS}", "-g"])


@pytest.fixture
def kernels(library: Kernels, capfd: pytest.CaptureFixture[str]) -> Iterator[Kernels]:
    """The kernels; the test fails on undefined behaviour even where the result is right."""
    yield library
    assert "runtime error" not in capfd.readouterr().err
