"""Instructions of single kernels against the stored baselines: deterministic, so a rise is real."""

from __future__ import annotations

from pathlib import Path

from mcugrad import baselines, kernelbench
from mcugrad.kernelbench.cases import CASES


def test_no_kernel_takes_more(tmp_path: Path) -> None:
    found = kernelbench.measure("nucleo_f746zg", tmp_path)
    base = baselines.load(kernelbench.BASELINES)
    assert not kernelbench.rises(found, base)
    assert set(base) == {k.label for k in CASES}
    worse = {label: round(n / 1.02) for label, n in base.items()}
    assert len(kernelbench.rises(found, worse)) > len(CASES) / 2
