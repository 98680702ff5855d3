"""Every kernel on the board itself, against the reference's bits: an image of its own, in Unity's words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_embedded import DutFactory
from pytest_embedded_serial import SerialDut

from hil_tests import rig
from hil_tests.rig import Bench, Image
from mcugrad import boards, flash, paths
from mcugrad.build import build_kernel_tests


@pytest.fixture
def kernels(bench: Bench, image: Image, pytestconfig: pytest.Config) -> Iterator[Bench]:
    """The board with the kernels' image in flash; the model's is put back."""
    elf = build_kernel_tests(bench.board, paths.BUILD / "hil" / bench.board / "kernels")
    if bench.cable:
        other = rig.emulate_elf(bench.board, elf, bench.log.parent, f"kernels-{bench.log.stem}")
        yield other
        other.close()
    elif pytestconfig.getoption("upload"):
        flash.flash(boards.load(bench.board), elf)
        yield bench
        flash.flash(boards.load(bench.board), image.elf)
    else:
        pytest.skip("needs another image in flash: give --upload")


def test_kernel_vectors(kernels: Bench) -> None:
    dut = DutFactory.create(embedded_services="serial", port=kernels.open())
    assert isinstance(dut, SerialDut)
    dut.write(b"g")
    dut.expect_unity_test_output(timeout=120)
    assert len(dut.testsuite.testcases) > 150
