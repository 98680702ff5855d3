"""Bad data, rates and schemes as a user meets them: said with place and fix, and nothing begun."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mcugrad import cli
from mcugrad.data import model_path
from mcugrad.frontend import store
from mcugrad.paths import ROOT
from mcugrad.telemetry import Telemetry

pytest.importorskip("unicorn")
pytest.importorskip("sklearn")
Refused = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must end with `code`; what it says on standard error."""

    def command(*arguments: str, code: int) -> str:
        monkeypatch.setattr(sys, "argv", ["mcugrad", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        text = capsys.readouterr().err
        assert (end.value.code or 0) == code, text
        return text

    monkeypatch.chdir(ROOT / "host")
    return command


@pytest.fixture
def refused(run: Refused, tmp_path: Path) -> Refused:
    """A training that must not begin: it says what, where and the fix, and leaves no folder of a run."""

    def train(*arguments: str, code: int = 3) -> str:
        text = run("train", *arguments, "--out", str(tmp_path / "runs"), code=code)
        assert not (tmp_path / "runs").exists()
        assert "error: " in text and "where: " in text and "fix: " in text
        return text

    return train


def arrays(path: Path, **other: Any) -> str:
    """40 images of 10 classes in a file."""
    x, y = np.random.default_rng(0).integers(0, 256, (40, 28, 28)).astype(np.float32), np.arange(40) % 10
    parts = {"x_train": x[:30], "y_train": y[:30], "x_test": x[30:], "y_test": y[30:]}
    np.savez(path / "mine.npz", **(parts | {"classes": [f"digit {i}" for i in range(10)]} | other))
    return str(path / "mine.npz")


def test_a_value_that_is_no_number_in_arrays(tmp_path: Path, refused: Refused) -> None:
    x = np.full((30, 28, 28), 9.0)
    x[17, 3, 4] = np.nan
    text = refused("--data", arrays(tmp_path, x_train=x))
    assert "the pixel at [17, 3, 4] is nan" in text
    assert f"where: {tmp_path / 'mine.npz'}, x_train" in text
    assert "mend or remove it" in text


def test_a_value_that_is_no_number_in_a_folder(tmp_path: Path, refused: Refused) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (28, 28), 50 * i).save(tmp_path / "photos" / name / f"{i}.png")
    values = np.full((28, 28), np.inf, np.float32)
    Image.fromarray(values).save(tmp_path / "photos" / "dog" / "deep.tiff")
    text = refused("--data", str(tmp_path / "photos"))
    assert "the pixel at [0, 0] is inf, one of 784 such" in text
    assert f"where: {tmp_path / 'photos' / 'dog' / 'deep.tiff'}" in text


def test_a_class_that_training_lacks(tmp_path: Path, refused: Refused) -> None:
    text = refused("--data", arrays(tmp_path, y_train=np.arange(30) % 9))
    assert "1 of 10 classes without a training image: 'digit 9' (1 held out)" in text


def test_samples_keep_every_class_or_are_refused(refused: Refused) -> None:
    text = refused("--samples", "9", code=2)
    assert "9 training images cannot show 10 classes" in text
    assert "where: --samples" in text and "at least 10" in text


def test_a_model_that_is_not_finite(tmp_path: Path, refused: Refused) -> None:
    graph = store.load(model_path("digits-tiny"))
    data = graph.params["head.b"].data.copy()
    data[3] = np.nan
    head = replace(graph.params["head.b"], data=data)
    store.save(replace(graph, params={**graph.params, "head.b": head}), tmp_path / "mine.safetensors")
    text = refused("--model", str(tmp_path / "mine.safetensors"))
    assert "1 of 10 values are not finite" in text and "mine.safetensors, tensor param/head.b" in text


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("9 18:1", ["there is no convolution 18", "the network has 0 (conv0) to 17 (b5.pw2)"]),
        ("19", ["there are no 19 biases", "begin with 18 or less"]),
        ("9 9:1/4 9:1/2", ["convolution 9 is named twice"]),
        ("9 9:3/2", ["convolution 9: share 3/2", "above 0 and at most 1"]),
        ("", ["no scheme '' for digits-tiny", "10kb, full, last-<k>"]),
    ],
)
def test_schemes_that_the_network_lacks(refused: Refused, scheme: str, words: list[str]) -> None:
    text = refused("--scheme", scheme)
    assert all(word in text for word in words), text


@pytest.mark.parametrize("lr", ["0", "-1", "nan", "inf", "1e39"])
def test_rates_that_are_none(refused: Refused, lr: str) -> None:
    assert "where: --lr" in refused(f"--lr={lr}", code=2)


def test_rates_of_the_table(run: Refused) -> None:
    assert "where: --rates" in run("modes", "--rates", "0.01,fast", code=2)


def test_no_epochs_in_the_job_file(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "job.toml").write_text("[train]\nepochs = 0\n")
    assert "[train] epochs" in refused("--config", str(tmp_path / "job.toml"), code=2)


def test_a_rate_that_diverges(tmp_path: Path, run: Refused) -> None:
    """It ends at that step, says so, and leaves good weights and a run that can be looked at."""
    small = ["--lr", "30", "--samples", "100", "--held-out", "20", "--out", str(tmp_path)]
    text = run("train", *small, "--json", code=3)
    (folder,) = tmp_path.iterdir()
    log = Telemetry.open(folder / "telemetry.sqlite")
    steps, status = log.table("steps"), log.run["status"]
    log.close()
    assert status == "diverged" and 1 < len(steps) < 20
    assert f"where: step {len(steps)} of 100, at learning rate {steps[-1]['lr']:.3g} (--lr 30)" in text
    assert "training diverged: the smoothed loss, " in text and "as --lr 3" in text
    assert f"the last good weights, after step 0, in {folder / 'last_good.safetensors'}" in text
    kept, shipped = store.load(folder / "last_good.safetensors"), store.load(model_path("digits-tiny"))
    assert all(np.array_equal(kept.params[n].data, p.data) for n, p in shipped.params.items())
    run("report", str(folder), code=0)
    assert (folder / "report.html").stat().st_size > 10_000
    assert "this run diverged" in run("train", "--resume", str(folder), code=3)
