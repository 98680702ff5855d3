"""The job's file and its flags: what overrides what, and how mistakes are named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcugrad import config
from mcugrad.errors import UserError
from mcugrad.paths import ROOT


def test_the_sample_file_holds_every_field_and_its_default() -> None:
    assert config.load(ROOT / "mcugrad.toml") == config.Job()
    text = (ROOT / "mcugrad.toml").read_text()
    for section, fields in config.Job().model_dump().items():
        assert f"[{section}]" in text
        assert all(f"\n{name} = " in text for name in fields)


def test_every_line_of_the_sample_file_is_commented() -> None:
    lines = (ROOT / "mcugrad.toml").read_text().splitlines()
    assert all(
        lines[i - 1].startswith("#") for i, line in enumerate(lines) if " = " in line and line[0] != "#"
    )


def test_every_flag_is_named_in_the_sample_file() -> None:
    text = (ROOT / "mcugrad.toml").read_text()
    assert all(f"--{flag.replace('_', '-')}" in text for flag in config.FLAGS)


def test_flags_override_the_file_and_absent_ones_do_not(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('[train]\nepochs = 3\n[model]\nscheme = "49kb"\n')
    job = config.load(tmp_path / "job.toml", {"epochs": 5, "lr": None, "model": "mcunet-5fps"})
    assert (job.train.epochs, job.model.name, job.model.scheme) == (5, "mcunet-5fps", "49kb")


@given(st.text(max_size=30), st.floats(1e-6, 10), st.integers(0, 1000))
def test_a_job_survives_its_file(tmp_path_factory, name: str, lr: float, seed: int) -> None:  # type: ignore[no-untyped-def]
    job = config.load(ROOT / "mcugrad.toml", {"model": name, "lr": lr, "seed": seed})
    path = tmp_path_factory.mktemp("job") / "job.toml"
    path.write_text(config.dump(job))
    assert config.load(path) == job


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[train]\nepochs = 0\n", "[train] epochs"),
        ("[train]\nlr = nan\n", "[train] lr"),
        ("[train]\nspeed = 1\n", "[train] speed"),
        ("[trian]\nlr = 1\n", "[trian]"),
        ("[board]\nport = 7\n", "[board] port"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(UserError) as error:
        config.load(tmp_path / "job.toml")
    assert where in error.value.where
    assert error.value.exit_code == 2


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(UserError) as error:
        config.load(flags={"held_out": -1})
    assert error.value.where == "--held-out"


@pytest.mark.parametrize("lr", [0, -0.1, math.nan, math.inf, -math.inf, 1e39])
def test_a_rate_that_moves_nothing_or_has_no_number(lr: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.lr = ") as error:
        config.load(flags={"lr": lr})
    assert error.value.where == "--lr" and error.value.exit_code == 2
    (tmp_path / "job.toml").write_text(f"[train]\nlr = {lr}\n")
    with pytest.raises(UserError, match=r"train\.lr = ") as error:
        config.load(tmp_path / "job.toml")
    assert error.value.where.endswith("job.toml, [train] lr")


@given(st.text(max_size=12))
def test_any_text_is_rates_or_refused(text: str) -> None:
    try:
        found = config.rates(text)
    except UserError as error:
        assert error.where == "--rates" and error.exit_code == 2
        return
    assert found and all(0 < lr < 3.1e38 for lr in found)


def test_rates() -> None:
    assert config.rates("0.003, 1e-2") == [0.003, 0.01]
    for wrong in ("", "0.1,", "0.1,x", "nan", "0", "-1", "inf"):
        with pytest.raises(UserError, match="is no learning rate"):
            config.rates(wrong)


def test_broken_toml_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("[train\n")
    with pytest.raises(UserError, match="not valid TOML"):
        config.load(tmp_path / "job.toml")
    with pytest.raises(UserError, match="cannot read the job"):
        config.load(tmp_path / "absent.toml")
