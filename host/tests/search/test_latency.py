"""Predicted instructions against those counted on the emulated board, and what a prediction is made of."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mcugrad import bench
from mcugrad.errors import InternalError
from mcugrad.frontend import models
from mcugrad.passes.schemes import INFERENCE, scheme_for
from mcugrad.pipeline import lowered, uncalibrated
from mcugrad.plan.again import planned
from mcugrad.search.latency import TABLE, coefficients, instructions, predict
from mcugrad.search.measure import fitted

TRAINED = [case for case in bench.CASES if case.scheme != INFERENCE and case.update == "8.8"]


@pytest.mark.parametrize("case", TRAINED, ids=lambda case: case.key)
def test_the_prediction_is_near_what_the_board_counts(case: bench.Case) -> None:
    if not case.present():
        pytest.skip(f"{case.model} is not here: set MCUGRAD_DATA")
    counted = json.loads(bench.BASELINES.read_text())[case.key]["instructions"]["total"]
    graph = lowered(uncalibrated(models.load(case.model, 10), case.scheme))
    assert instructions(*planned(graph)) == pytest.approx(counted, rel=0.03)


def test_the_table_says_how_far_off_it_is() -> None:
    table = json.loads(TABLE.read_text())
    errors = [abs(row["error_percent"]) for row in table["held_out"].values()]
    assert table["error_percent"]["max"] == max(errors) and table["error_percent"]["mean"] <= 3
    assert not set(table["held_out"]) & set(table["fitted_on"])


def test_more_training_takes_more_instructions() -> None:
    forward = models.load("digits-tiny", 10)
    graphs = [lowered(uncalibrated(forward, s)) for s in ("0", "0 15:1/4", "0 15:1", "9 9:1 15:1")]
    costs = [instructions(*planned(graph)) for graph in graphs]
    assert costs == sorted(set(costs))
    assert scheme_for(forward, "0").biases == 0


def test_a_kind_that_nobody_measured_is_taken_for_the_most_similar_one() -> None:
    graph = lowered(uncalibrated(models.load("digits-tiny", 10), "0"))
    table = dict(coefficients())
    del table["depthwise_conv2d 3x3 s2"]
    assert predict(graph, table) == pytest.approx(predict(graph, coefficients()), rel=0.03)


def test_an_op_that_nobody_measured_is_ours_to_mend() -> None:
    graph = lowered(uncalibrated(models.load("digits-tiny", 10), "0"))
    with pytest.raises(InternalError, match=r"mcugrad.search.measure"):
        predict(graph, {})


def test_the_fit_finds_the_costs_that_made_the_counts() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 1000, (30, 5))
    true = np.array([1.5, 8.0, 0.0, 3.0, 40.0])
    rows = [(row.astype(float), round(float(row @ true))) for row in x]
    assert fitted(rows) == pytest.approx(true, rel=0.01, abs=0.05)
