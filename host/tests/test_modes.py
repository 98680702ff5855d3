"""The table of training modes: same figures as the pieces it is made of; a killed run goes on."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mcugrad import modes
from mcugrad.config import Job
from mcugrad.errors import InternalError, UserError
from mcugrad.frontend import models
from mcugrad.hostmodel import HostModel
from mcugrad.modes import board, training
from mcugrad.modes.rows import Mode, Rows, Setting
from tests.models import paper_model

pytest.importorskip("unicorn")


@pytest.fixture
def job() -> Job:
    pytest.importorskip("sklearn")
    start = Job()
    data = start.data.model_copy(update={"source": "paper-digits", "samples": 180, "held_out": 60})
    return start.model_copy(update={"data": data})


def quiet() -> Console:
    return Console(file=io.StringIO(), width=130)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_more_training_costs_more_and_learns_more(job: Job, tmp_path: Path) -> None:
    head, full = modes.modes(job, ["head-only", "full"], [30, 0.01], quiet(), tmp_path)
    assert head.before == full.before
    assert head.cost.ram < full.cost.ram
    assert head.cost.instructions and full.cost.instructions
    assert head.cost.instructions < full.cost.instructions
    assert full.lr == 0.01, "a rate that diverges is not chosen"
    assert full.after is not None and full.after > full.before
    page = (tmp_path / "digits-tiny-paper-digits.md").read_text()
    assert f"|full|0.01|{full.before:.1%}|{full.after:.1%}|nucleo_f746zg|" in page
    assert f"|{full.cost.ram:,}|{full.cost.instructions:,}|" in page
    assert "--seed 0 --rates 30,0.01 --schemes head-only,full`" in page


SCHEMES = modes.default_schemes("digits-tiny")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_mode_steps_on_the_board_as_on_the_host(job: Job, scheme: str, tmp_path: Path) -> None:
    """`counted` compares the whole trained state after the step."""
    forward = models.load(job.model.name, 10)
    fits, compiled = board.smallest(job, forward, scheme, None)
    split = modes.of_job(job).split((28, 28, 1)).some(20, 10, 0)
    _, _, probes = training.Trainer(compiled, split, job, tmp_path, quiet()).train(0.01)
    assert fits and len(probes) == training.PROBES
    assert all(p.before != p.after for p in probes)
    assert board.counted(compiled, fits, probes[-1:], tmp_path).instructions
    if scheme == "head-only":
        spoiled = replace(probes[-1], after=bytes(len(probes[-1].after)))
        with pytest.raises(InternalError, match="other weights on the emulated board"):
            board.counted(compiled, fits, [spoiled], tmp_path)


def test_dynamic_gradients_cost_fewer_instructions(job: Job, tmp_path: Path) -> None:
    static, dynamic = modes.modes(job, ["full", "dynamic:1/8..1/2 full"], [0.01], quiet(), tmp_path)
    assert static.cost.instructions and dynamic.cost.instructions
    assert dynamic.cost.instructions < 0.9 * static.cost.instructions
    assert dynamic.cost.arena < static.cost.arena


def test_a_killed_run_goes_on(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = modes.modes(job, ["head-only"], [0.01], quiet(), tmp_path)
    trained: list[str] = []
    measure = modes._measure

    def watched(*args: object) -> Mode:
        trained.append(args[3].scheme)  # type: ignore[attr-defined]
        return measure(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(modes, "_measure", watched)
    both = modes.modes(job, ["head-only", "last-1"], [0.01], quiet(), tmp_path)
    assert trained == ["last-1"] and both[:1] == first
    modes.modes(job, ["head-only"], [0.02], quiet(), tmp_path)
    assert trained == ["last-1", "head-only"], "another rate is another row"
    assert len((tmp_path / "digits-tiny-paper-digits.jsonl").read_text().splitlines()) == 3


def test_rows_come_back_as_they_were(job: Job, tmp_path: Path) -> None:
    row = Mode("full", 0.01, 0.5, None, None, board.Cost(1, 2, 3))
    setting = Setting.of(job, "full", [0.01])
    path = Rows.of(job, tmp_path).path
    path.write_text('{"setting": {"mod')
    Rows.of(job, tmp_path).add(setting, row)
    assert Rows.of(job, tmp_path).find(setting) == row
    assert Rows.of(job, tmp_path).find(Setting.of(job, "full", [0.02])) is None
    assert row.cells[2:5] == ["50.0%", "diverged", "none fits"] and row.cells[-1] == "–"


def test_a_scheme_that_fits_no_board_has_a_row_with_the_planned_bytes(job: Job) -> None:
    fits, compiled = board.smallest(job, paper_model("mcunet-5fps", 102), "full", None)
    cost = board.planned(compiled)
    assert fits is None and cost.instructions is None
    assert cost.ram == compiled.fit.total > 512 * 1024


def test_the_next_board_is_taken_where_the_first_is_too_small(job: Job) -> None:
    fits, compiled = board.smallest(job, paper_model("mcunet-5fps", 102), "148kb", None)
    assert fits == board.LARGEST and compiled.fit.total > 320 * 1024


def test_images_past_the_front_train_as_whole_ones(job: Job, tmp_path: Path) -> None:
    """The same steps by HostModel.step, which the board's equality tests cover."""
    forward = models.load(job.model.name, 10)
    _, compiled = board.smallest(job, forward, "10kb", None)
    split = modes.of_job(job).split((28, 28, 1)).some(30, 10, 0)
    trainer = training.Trainer(compiled, split, job, tmp_path, quiet())
    _, _, probes = trainer.train(0.02)
    model = HostModel(tmp_path / "gen", tmp_path / "again.so")
    for probe in probes:
        model.restore(probe.before)
        model.step(probe.x, probe.label, probe.lr)
        assert model.state_bytes() == probe.after


def test_divergence_is_said(job: Job, tmp_path: Path) -> None:
    show = quiet()
    (row,) = modes.modes(job, ["10kb"], [30], show, tmp_path)
    assert row.after is None and "diverged" in said(show)


def test_a_wrong_scheme_is_named_before_the_first_is_trained(job: Job, tmp_path: Path) -> None:
    show = quiet()
    for wrong in ("nope", "dynamic:2..3 full"):
        with pytest.raises(UserError, match=f"no scheme '{wrong}'|shares 2..3"):
            modes.modes(job, ["10kb", wrong], [0.01], show, tmp_path)
    assert not said(show)


def test_paper_models_have_their_middle_scheme() -> None:
    assert "99kb" in modes.default_schemes("mcunet-5fps") and "98kb" in modes.default_schemes(
        "proxyless-w0.3"
    )
    assert modes.default_schemes("mine.safetensors")[4] == "last-3"
