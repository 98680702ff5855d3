"""The table: cells that resume, rates that are climbed to, a page that shows what is there."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mcugrad import records
from mcugrad.codegen.c import ARITHMETIC
from mcugrad.errors import UsageError
from mcugrad.study import page, reproduce, training
from mcugrad.study.case import FILE, Case, Results
from mcugrad.study.grid import BUDGETS, COLUMNS, DEVICE, NO_QAS, SIMULATED, Strip, strips
from mcugrad.study.table import error_bar

STRIP = Strip("mcunet-5fps", "99kb", DEVICE, "vww_voc07>vww_coco", 3, "short")


def figures(case: Case, accuracy: float) -> dict[str, Any]:
    phases = len(case.sources)
    shown = {"accuracy": [[0.1, accuracy]] * phases, "judged_loss": [[2.0, 1.0]] * phases}
    return shown | {"loss": [1.0], "diverged": False, "seconds": 1.0, "extra_bytes": 99 * 1024}


def test_a_cell_is_tuned_on_validation_images_and_run_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[Case] = []

    def run(case: Case, device: str, kept: Path) -> dict[str, Any]:
        ran.append(case)
        return figures(case, 0.8 - abs(case.lr - 0.002))

    monkeypatch.setattr(training, "run", run)
    told = reproduce._fill(STRIP, tmp_path / FILE, "cpu")
    assert "79.8%" not in told and "80.0%, 80.0%, 80.0%" in told
    finals = [case for case in ran if case.judge == "test"]
    assert finals == [STRIP.case(0.002, seed) for seed in range(3)]
    assert {case.data for case in ran if case.judge == "validation"} == {"vww_voc07"}
    count = len(ran)
    reproduce._fill(STRIP, tmp_path / FILE, "cpu")
    assert len(ran) == count
    assert STRIP.among(Results(tmp_path / FILE).all())


def test_a_torn_line_does_not_count(tmp_path: Path) -> None:
    results = Results(tmp_path / FILE)
    results.add(Case(), figures(Case(), 0.5))
    with results.path.open("a") as file:
        file.write('{"case": {"model": "digits')
    other = replace(Case(), seed=1)
    results.add(other, figures(other, 0.6))
    assert [r["case"] for r in results.all()] == [Case(), other]
    assert results.of(other) and not results.of(replace(other, seed=2))


def test_every_cell_has_a_case_and_none_two() -> None:
    for budget in BUDGETS:
        cases = [strip.case(0.01, seed) for strip in strips(budget) for seed in range(strip.seeds)]
        assert len(set(cases)) == len(cases)
        assert {column for strip in strips(budget) for column in [strip.column]} == set(COLUMNS)


def test_the_page_shows_what_is_there(tmp_path: Path) -> None:
    results = Results(tmp_path / FILE)
    reached = {DEVICE: 0.80, SIMULATED: 0.81, NO_QAS: 0.75}
    for strip in strips("short"):
        if strip.data == "flowers102" and strip.column in reached:
            for seed in range(strip.seeds):
                case = strip.case(0.002, seed)
                results.add(case, figures(case, reached[strip.column] + 0.01 * seed))
    text = page.write(tmp_path, "short").read_text()
    row = "| mcunet-5fps 99kb | 82.0 ± 1.0 @0.002 | 76.0 ± 1.0 @0.002 | 81.0 ± 1.0 @0.002 |"
    assert f"{row} *not run* | *not run* | 88.8 |" in text
    assert "| mcunet-5fps 74kb | – | – | 80.0 @0.002 | – | – |  |" in text, "no question needs the dashes"
    qas = "QAS against none, fp32 gradients, 99kb (wanted: at least +3): flowers102 +6.0 ± 1.3"
    assert f"{qas}; cifar10 not run; vww_voc07 → vww_coco not run." in text
    assert "+3.9 on VWW) (wanted: at least +3): flowers102 +6.0 ± 1.3; cifar10 not run" in text
    asked = strips("short")
    cells = [s for s in asked if s.data != "flowers102" or s.column not in reached]
    assert f"**{len(cells)} of {len(asked)} cells are not run yet** (flowers102 10, cifar10 " in text
    assert (tmp_path / "memory.svg").read_text().startswith("<svg")
    assert (tmp_path / "columns.svg").is_file()


def test_an_empty_page(tmp_path: Path) -> None:
    assert "| mcunet-5fps full | – |" in page.write(tmp_path, "short").read_text()


@pytest.mark.parametrize("wrong", [{"only": "no such cell"}, {"budget": "huge"}])
def test_wrong_requests(wrong: dict[str, str], tmp_path: Path) -> None:
    asked: dict[str, Any] = {"only": "", "budget": "short", "workers": 1, "device": "cpu"} | wrong
    with pytest.raises(UsageError, match=next(iter(wrong.values()))):
        reproduce.reproduce(**asked, folder=tmp_path, console=Console())


def test_an_error_bar_is_the_binomial_one() -> None:
    assert error_bar(80, 1600) == pytest.approx(1.0)


def test_a_training_by_another_arithmetic_does_not_count(tmp_path: Path) -> None:
    results = Results(tmp_path / FILE)
    simulated, tried = STRIP.case(0.002), STRIP.trial(0.002)
    others = [replace(simulated, gradients="fp32"), tried]
    for case in (simulated, *others):
        records.append(
            results.path, {"case": asdict(case), "arithmetic": ARITHMETIC - 1, **figures(case, 0.5)}
        )
    assert [r["case"] for r in results.all()] == others
    results.add(simulated, figures(simulated, 0.6))
    assert results.of(simulated)
