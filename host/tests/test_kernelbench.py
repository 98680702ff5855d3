"""Instructions of single kernels against the stored baselines: deterministic, so a rise is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcugrad import baselines, kernelbench
from mcugrad.errors import InternalError
from mcugrad.kernelbench import page
from mcugrad.kernelbench.cases import CASES


def test_no_kernel_takes_more(tmp_path: Path) -> None:
    found = kernelbench.measure("nucleo_f746zg", tmp_path)
    base = baselines.load(kernelbench.BASELINES)
    assert not kernelbench.rises(found, base)
    assert set(base) == {k.label for k in CASES}
    worse = {label: round(n / 1.02) for label, n in base.items()}
    assert len(kernelbench.rises(found, worse)) > len(CASES) / 2


def test_the_page_shows_the_baselines() -> None:
    base = baselines.load(kernelbench.BASELINES)
    assert page.found(kernelbench.PAGE) == page.table(base)


def test_renewing_the_page_keeps_the_rest_of_it(tmp_path: Path) -> None:
    copy, base = tmp_path / "README.md", baselines.load(kernelbench.BASELINES)
    copy.write_text(kernelbench.PAGE.read_text())
    page.put(copy, {label: 2 * n for label, n in base.items()})
    assert page.found(copy) != page.found(kernelbench.PAGE)
    page.put(copy, base)
    assert copy.read_text() == kernelbench.PAGE.read_text()
    copy.write_text("no table")
    with pytest.raises(InternalError):
        page.put(copy, base)


def test_what_is_derived_on_paper_is_near_what_is_counted() -> None:
    base, works = baselines.load(kernelbench.BASELINES), {k.label: k.work() for k in CASES}
    for label, paper in page.PAPER.items():
        assert base[label] / works[label] == pytest.approx(paper, rel=0.15), label
