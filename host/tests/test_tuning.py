"""Rates are climbed beyond the ends of those given, a few times at most."""

from __future__ import annotations

import pytest

from mcugrad.study import reproduce
from mcugrad.tuning import climbed


@pytest.mark.parametrize(
    ("best", "tried"),
    [(2.0, [1, 2, 4]), (8.0, [1, 2, 4, 8, 16]), (0.4, [1, 2, 4, 0.5, 0.25]), (100.0, [1, 2, 4, 8, 16])],
)
def test_rates_are_climbed_beyond_their_ends(best: float, tried: list[float]) -> None:
    asked: list[float] = []

    def score(lr: float) -> tuple[float]:
        asked.append(lr)
        return (-abs(lr - best),)

    assert climbed([1, 2, 4], score, 2) == max(tried, key=lambda lr: -abs(lr - best))
    assert asked == tried


@pytest.mark.parametrize("best", [0.0005, 0.001, 0.004, 0.016, 0.032])
def test_the_studys_rates_reach_far(best: float) -> None:
    tried: list[float] = []

    def score(lr: float) -> tuple[float, float]:
        tried.append(lr)
        return -abs(lr / best - best / lr), 0.0

    assert climbed(reproduce.RATES, score, reproduce.CLIMB) == best
    assert len(set(tried)) == len(tried) <= 6


def test_of_equal_rates_the_smaller_is_taken() -> None:
    assert climbed([1, 2, 4], lambda lr: () if lr > 2 else (0.0,), 2) == 0.25
    assert climbed([1, 2], lambda lr: (), 1) == 0.5, "where all diverge"
    assert climbed([3], lambda lr: (0.0,), 2) == 3
