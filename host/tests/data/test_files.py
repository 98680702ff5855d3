"""Registered files: found in MCUGRAD_DATA, then the cache, then downloaded; never used unverified."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mcugrad.data import DATASETS, MODELS, model_path
from mcugrad.data.files import cache, locate
from mcugrad.data.registry import Entry
from mcugrad.errors import UserError

CONTENT = b"some weights"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCUGRAD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def entry(url: str = "", sha256: str = SHA) -> Entry:
    return Entry(file="models/m.pkl", sha256=sha256, source="a test", licence="MIT", url=url)


def served(folder: Path, content: bytes = CONTENT) -> str:
    (folder / "served").write_bytes(content)
    return (folder / "served").as_uri()


def test_the_data_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path / "data", cache()):
        (folder / "models").mkdir(parents=True)
        (folder / "models/m.pkl").write_bytes(CONTENT)
    monkeypatch.setenv("MCUGRAD_DATA", str(tmp_path / "data"))
    assert locate(entry()) == tmp_path / "data/models/m.pkl"
    monkeypatch.delenv("MCUGRAD_DATA")
    assert locate(entry()) == cache() / "models/m.pkl"


def test_a_missing_file_is_downloaded_once(tmp_path: Path) -> None:
    url = served(tmp_path)
    path = locate(entry(url))
    assert path.read_bytes() == CONTENT
    (tmp_path / "served").unlink()
    assert locate(entry(url)) == path


def test_a_wrong_download_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sha256"):
        locate(entry(served(tmp_path, b"a proxy's error page")))
    assert list(cache().rglob("*")) == [cache() / "models"]


def test_an_unreachable_address_names_it(tmp_path: Path) -> None:
    url = (tmp_path / "nothing").as_uri()
    with pytest.raises(UserError, match="cannot download") as error:
        locate(entry(url))
    assert error.value.where == url


def test_a_file_without_address_asks_for_the_data_folder() -> None:
    with pytest.raises(UserError, match="set MCUGRAD_DATA"):
        locate(entry())


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m.pkl").write_bytes(CONTENT + b"!")
    monkeypatch.setenv("MCUGRAD_DATA", str(tmp_path))
    with pytest.raises(UserError, match="not the expected file"):
        locate(entry())


def test_a_data_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCUGRAD_DATA", str(tmp_path / "typo"))
    with pytest.raises(UserError, match="typo"):
        locate(entry())


def test_models_by_name() -> None:
    assert model_path("digits-tiny").is_file()
    with pytest.raises(UserError, match="no model named 'resnet'"):
        model_path("resnet")


def test_every_file_is_pinned() -> None:
    for item in (*DATASETS.values(), *MODELS.values()):
        if isinstance(item, Entry):
            assert len(item.sha256) == 64 and item.source and item.licence
