"""Instructions, RAM and flash of one step against the stored baselines: deterministic, so a rise is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcugrad import baselines, bench
from mcugrad.bench import Case

BOARD = "nucleo_f746zg"


@pytest.mark.parametrize("case", [c for c in bench.CASES if not c.extra], ids=lambda case: case.key)
def test_no_figure_rises(case: Case, tmp_path: Path) -> None:
    if not case.present():
        pytest.skip(f"{case.model} is not here: set MCUGRAD_DATA")
    figures = bench.measure(case, BOARD, tmp_path)
    assert not bench.rises({case.key: figures})
    nodes = sum(n["instructions"] for n in figures["nodes"])
    total = figures["instructions"]["total"]
    assert abs(total - nodes) < 200  # the call and the return


def test_a_rise_is_found() -> None:
    base = baselines.load(bench.BASELINES)
    key = bench.DEFAULT.key
    assert key in base
    worse = {
        k: {n: round(v * 1.02) for n, v in group.items()} if isinstance(group, dict) else group
        for k, group in base[key].items()
    }
    assert len(bench.rises({key: worse})) >= 8
    assert not bench.rises({key: base[key]})
