"""All paths through the kernels on this machine: portable, the chip's with C twins, the host's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernels.run import SANITIZERS, Kernels


@pytest.fixture(scope="session", params=["portable", "chip", "wide"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    folder = tmp_path_factory.mktemp(f"kernels_{request.param}")
    defines = {"chip": ["MG_FAST=1"], "wide": ["MG_WIDE=1"]}.get(request.param, [])
    # What the address sanitizer adds takes the compiler four times as long to optimise as to leave alone.
    other = ["-O1", "-g1"] if "address" in SANITIZERS else []
    scratch = {"chip": (0, 0.6, 1), "portable": (0, 1)}.get(request.param, (1,))
    return Kernels(folder, defines, [f"-fsanitize={SANITIZERS}", *other], scratch)


@pytest.fixture
def kernels(library: Kernels, capfd: pytest.CaptureFixture[str]) -> Iterator[Kernels]:
    """The kernels; the test fails on undefined behaviour even where the result is right."""
    yield library
    assert "runtime error" not in capfd.readouterr().err
