"""The planner's bar: the paper's fifteen schemes within 2 % of what is proved, in a minute of two cores."""

from __future__ import annotations

import time
from functools import cache

import pytest

from mcugrad.passes.schemes import SCHEMES
from mcugrad.pipeline import lowered, uncalibrated
from mcugrad.plan.check import check
from mcugrad.plan.memory import Plan, plan
from mcugrad.plan.report import proof
from mcugrad.plan.scratch import grown
from tests.models import PAPER, paper_model

CASES = [(model, scheme) for model in PAPER for scheme in SCHEMES[model]]


@cache
def planned(model: str, scheme: str) -> tuple[Plan, float]:
    """The plan, and the CPU seconds that it took."""
    graph = lowered(uncalibrated(paper_model(model), scheme))
    began = time.process_time()
    placed = plan(graph)
    seconds = time.process_time() - began
    assert check(graph, grown(graph, placed)).arena_bytes == placed.arena_bytes
    return check(graph, placed), seconds


@pytest.mark.parametrize(("model", "scheme"), CASES)
def test_the_arena_is_within_two_percent_of_what_is_proved(model: str, scheme: str) -> None:
    placed, seconds = planned(model, scheme)
    print(f"{model} {scheme}: {proof(placed)}; {seconds:.2f} s")
    assert placed.gap <= 0.02 and placed.floor


def test_all_fifteen_take_less_than_a_minute_of_two_cores() -> None:
    seconds = [planned(*case)[1] for case in CASES]
    assert len(seconds) == 15 and sum(seconds) < 2 * 60
