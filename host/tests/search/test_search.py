"""The search: it finds the best scheme, keeps to its budgets, shares its storage, and names mistakes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import permutations, product
from pathlib import Path

import pytest

from mcugrad.boards import load
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.passes.schemes import Scheme, analytic_memory, scheme_for
from mcugrad.pipeline import compile_model
from mcugrad.search import commands
from mcugrad.search.costs import Costs
from mcugrad.search.gains import SHARES
from mcugrad.search.workers import Plan, evolve

pytest.importorskip("optuna")
BUDGET = 6000  # bytes of analytic memory: neither everything nor next to nothing


@pytest.fixture
def plan(analysis: Path) -> Plan:
    storage = f"sqlite:///{analysis.parent / 'search.db'}"
    return Plan(analysis, "nucleo_f746zg", BUDGET, "analytic", 0, "loss", storage, 0)


def ignore(line: str) -> None:
    pass


def optimum(plan: Plan) -> float:
    """The largest gain of any scheme within the budget, by trying all of them."""
    evolution, best = plan.evolution(), 0.0
    shares = [Fraction(0), *SHARES]
    for biases, *chosen in product(range(7), shares, shares, shares):
        scheme = Scheme(biases, {i: s for i, s in zip((9, 12, 15), chosen, strict=True) if s})
        if analytic_memory(evolution.costs.forward, scheme) <= plan.memory:
            best = max(best, evolution.gains.of(scheme) or 0.0)
    return best


def test_it_comes_near_the_best_scheme_within_the_budget(plan: Plan) -> None:
    front = evolve(plan, 150, 1, ignore).front()
    assert 0.93 * optimum(plan) <= front[0].gain <= optimum(plan) + 1e-9
    assert all(f.cost.analytic <= BUDGET for f in front)
    costs = [(-f.gain, f.cost.analytic, f.cost.instructions) for f in front]
    assert not any(
        all(a <= b for a, b in zip(one, other, strict=True)) for one, other in permutations(costs, 2)
    )


def test_the_same_seed_finds_the_same(plan: Plan) -> None:
    others = (replace(plan, storage=plan.storage.replace("search", name)) for name in ("a", "b"))
    first, again = (evolve(p, 60, 1, ignore).front() for p in others)
    assert first == again


def test_it_goes_on_where_it_stopped(plan: Plan) -> None:
    assert sum(evolve(plan, 30, 1, ignore).workers().values()) == 30
    workers = evolve(plan, 60, 1, ignore).workers()
    assert sorted(workers.values()) == [30, 30]
    assert evolve(plan, 60, 1, ignore).workers() == workers


def test_two_processes_share_a_search(plan: Plan) -> None:
    workers = evolve(plan, 250, 2, ignore).workers()
    assert len(workers) == 2 and min(workers.values()) >= 10
    assert 250 <= sum(workers.values()) <= 260


def test_costs_are_the_compiler_s() -> None:
    forward, board = models.load("digits-tiny", 10), load("nucleo_f746zg")
    scheme = scheme_for(forward, "9 9:1/2 12:1")
    compiled, cost = compile_model(forward, str(scheme), board), Costs(forward, board).of(scheme)
    assert (cost.ram, cost.fits) == (compiled.fit.total, True)
    assert cost.analytic == analytic_memory(forward, scheme)


def test_the_instruction_budget_holds(plan: Plan) -> None:
    limit = plan.evolution().costs.of(Scheme(0, {15: Fraction(1)})).instructions
    tight = replace(plan, instructions=limit, storage=plan.storage.replace("search", "tight"))
    assert all(f.cost.instructions <= limit for f in evolve(tight, 60, 1, ignore).front())


def test_a_budget_that_nothing_fits(plan: Plan) -> None:
    with pytest.raises(UserError, match=r"no scheme fits; the head alone takes \d+ bytes"):
        evolve(replace(plan, memory=10), 10, 1, ignore)


def test_a_storage_that_holds_another_search(plan: Plan) -> None:
    evolve(plan, 10, 1, ignore)
    with pytest.raises(UserError, match=r"another search \(memory = 6000, not 7000\)"):
        evolve(replace(plan, memory=7000), 10, 1, ignore)


@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////nowhere/x.db", "oracle9://x"])
def test_a_storage_that_cannot_be_opened(plan: Plan, storage: str) -> None:
    with pytest.raises(UserError, match="cannot open the storage"):
        evolve(replace(plan, storage=storage), 10, 1, ignore)


def test_the_command_writes_front_picture_and_finalists(
    analysis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "out"
    about = {"finalists": 2, "epochs": 1, "rates": "0.03", "measure": "analytic", "trials": 60}
    commands.search(analysis, "10KB", **about, out=out)  # type: ignore[arg-type]
    assert {p.name for p in out.iterdir()} >= {"front.json", "pareto.png", "finalists.jsonl", "search.db"}
    assert "best: " in capsys.readouterr().out
    before = (out / "finalists.jsonl").read_text()
    commands.search(analysis, "10KB", **about, out=out)  # type: ignore[arg-type]
    assert (out / "finalists.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"budget": "much"}, "unreadable budget"),
        ({"measure": "flash"}, "no 'flash'"),
        ({"by": "luck"}, "no 'luck'"),
        ({"rates": "0,1"}, "unreadable rates"),
        ({"contributions": Path("none.jsonl")}, "contribution analysis is not there"),
        ({"board": "nope"}, "no board is called"),
    ],
)
def test_wrong_arguments(analysis: Path, tmp_path: Path, wrong: dict[str, str], words: str) -> None:
    given = {"contributions": analysis, "budget": "10KB", "out": tmp_path / "out"} | wrong
    with pytest.raises(UserError, match=words):
        commands.search(**given)  # type: ignore[arg-type]
