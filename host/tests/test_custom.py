"""One's own network and one's own images: imported, trained on the emulated board, weights fetched back."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcugrad.config import DataSection, Job
from mcugrad.custom import import_network
from mcugrad.doctor import PARTS, examine
from mcugrad.errors import UserError
from mcugrad.frontend import store
from mcugrad.paths import ROOT

NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 16, 1), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)).eval()

number = 3
"""


def of(images: Path) -> Job:
    return Job(data=DataSection(source=str(images)))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes, red and blue, of odd sizes."""
    rng = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 90, (20 + i, 30, 3), np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    pytest.importorskip("torch")
    path = tmp_path / "net.py"
    path.write_text(NETWORK)
    return path


def test_own_network_and_own_images_train_on_the_emulated_board(
    tmp_path: Path, images: Path, network: Path
) -> None:
    pytest.importorskip("unicorn")
    model = import_network(f"{network}:make", of(images), "16x16x3", tmp_path / "own.safetensors")
    script = [
        sys.executable,
        str(ROOT / "host" / "train_on_board.py"),
        "--model",
        str(model),
        "--data",
        str(images),
    ]
    options = ["--scheme", "full", "--epochs", "3", "--out", str(tmp_path / "runs"), "--json"]
    done = subprocess.run([*script, *options], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["after"] == 1.0
    before, after = store.load(model), store.load(Path(end["weights"]))
    assert after.params.keys() == before.params.keys()
    changed = [n for n in after.params if not np.array_equal(after.params[n].data, before.params[n].data)]
    assert changed


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("absent.py:make", "16x16x3", "no file of that name"),
        ("make", "16x16x3", "no file of that name"),
        ("net.py:nothing", "16x16x3", "has no function 'nothing'"),
        ("net.py:number", "16x16x3", "has no function 'number'"),
        ("net.py:make", "16x16", "is not an image size"),
        ("net.py:make", "16x16x2", "is not an image size"),
        ("net.py:make", "16x16x1", "does not run on them"),
    ],
)
def test_mistakes_in_an_import_are_named(
    tmp_path: Path,
    images: Path,
    network: Path,
    name: str,
    size: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        import_network(name, of(images), size, tmp_path / "own.safetensors")
    assert not (tmp_path / "own.safetensors").exists()


def test_a_file_that_does_not_run_is_named(tmp_path: Path, images: Path) -> None:
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(UserError, match="does not run"):
        import_network(f"{tmp_path / 'bad.py'}:make", of(images), "16x16x3", tmp_path / "own.safetensors")


def test_the_doctor_names_a_fix_for_every_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("MCUGRAD_DATA", "/nowhere")
    findings = {f.name: f for f in examine()}
    assert findings["arm-none-eabi-gcc"].needed
    assert "apt install" in findings["arm-none-eabi-gcc"].fix
    assert findings["MCUGRAD_DATA"].fix
    assert not findings["sources"].fix


def test_the_doctor_knows_every_optional_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each extra for users, and none that pip would not know; absent ones come with the command."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra for extra, _ in PARTS.values()} == set(extras) - {"dev", "pretrain"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    findings = {f.name: f for f in examine()}
    for name, (extra, _) in PARTS.items():
        assert findings[name].fix == f"pip install 'mcugrad[{extra}]'" and not findings[name].needed
