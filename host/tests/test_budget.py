"""mcugrad plan --budget: sizes, the table of schemes, and exit code 6."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcugrad import boards, budget
from mcugrad.cli import app
from mcugrad.errors import OutOfMemoryError, UsageError
from mcugrad.frontend import models

BOARD = boards.load("nucleo_f746zg")


@pytest.mark.parametrize(
    ("text", "size"), [("96KB", 98304), ("96 kib", 98304), ("65536", 65536), ("1m", 1 << 20), ("7B", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert budget.parse(text) == size


@pytest.mark.parametrize("text", ["", "KB", "-1", "1.5KB", "96 apples", "1kk", "9" * 10])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="no size"):
        budget.parse(text)


def test_the_table_has_every_scheme_of_the_model_once_and_the_least_first() -> None:
    forward = models.load("digits-tiny", 10, 0)
    asked = budget.planned(forward, "last-2", BOARD)
    found = budget.survey(forward, asked, BOARD)
    assert sorted(p.scheme for p in found) == sorted(
        ["last-2", "10kb", "head-only", "bias-only", "last-3", "last-6", "full"]
    )
    totals = [p.fit.total for p in found]
    assert totals == sorted(totals)
    budget.refuse(asked, found, asked.fit.total)
    with pytest.raises(OutOfMemoryError, match="1 more than") as error:
        budget.refuse(asked, found, asked.fit.total - 1)
    assert "head-only" in error.value.fix and "last-2" not in error.value.fix.split("that fit")[1]


def test_the_command_s_answer(tmp_path: Path) -> None:
    page = tmp_path / "new" / "memory.html"
    words = ["plan", "--model", "digits-tiny", "--scheme", "10kb", "--budget"]
    fits = CliRunner().invoke(app, [*words, "64KB", "--html", str(page)])
    assert fits.exit_code == 0, fits.output
    assert "what would lower it" in fits.output and "head-only" in fits.output
    assert page.read_text().startswith("<!doctype html>")
    assert isinstance(CliRunner().invoke(app, [*words, "20KB"]).exception, OutOfMemoryError)


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = CliRunner().invoke(app, ["plan", "--html", str(tmp_path / "file" / "memory.html")])
    assert isinstance(answer.exception, UsageError) and "--html" in answer.exception.where
