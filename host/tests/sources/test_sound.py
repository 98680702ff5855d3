"""Sound files -> log-mel pictures: a tone is a line at its pitch, and a wrong rate is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcugrad.config import AudioSection, CaptureSection, Job
from mcugrad.errors import UserError
from mcugrad.sources import microphone, open_source
from mcugrad.sources.sound import log_mel

soundfile = pytest.importorskip("soundfile")
PLAN, SHAPE = AudioSection(seconds=0.5), (16, 20, 1)


def tone(hertz: float, seconds: float = 0.5, rate: int = 16000, loud: float = 0.5) -> Any:
    return (loud * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def folder(root: Path, rate: int = 16000) -> Path:
    for name, hertz in (("low", 300), ("high", 3000)):
        (root / name).mkdir()
        for i in range(5):
            soundfile.write(root / name / f"{i}.wav", tone(hertz + 20 * i, 1.2, rate), rate)
    return root


def pitch(band: int) -> float:
    """Middle of a mel band in hertz."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (PLAN.low_hz, PLAN.high_hz))
    return float(700 * (10 ** ((low + (high - low) * (band + 1) / (SHAPE[1] + 1)) / 2595) - 1))


@pytest.mark.parametrize("hertz", [250, 700, 1500, 4000])
def test_a_tone_is_a_line_at_its_pitch(hertz: float) -> None:
    found = log_mel(tone(hertz), SHAPE, PLAN)
    assert found.shape == SHAPE
    bands = found[:, :, 0].argmax(1)
    assert len(set(bands.tolist())) == 1
    assert pitch(bands[0] - 1) < hertz < pitch(bands[0] + 1)


def test_loudness_is_decibels_below_full_scale() -> None:
    loud, soft = (log_mel(tone(1000, loud=a), SHAPE, PLAN).max() for a in (0.5, 0.05))
    assert abs(int(loud) - int(soft) - 255 * 20 / 80) <= 2
    assert log_mel(tone(1000, loud=1.0), SHAPE, PLAN).max() > 240
    assert (log_mel(tone(0), SHAPE, PLAN) == 0).all()


def test_three_channels_are_the_same_one() -> None:
    found = log_mel(tone(500), (16, 20, 3), PLAN)
    assert (found[..., 0] == found[..., 2]).all()


def test_a_folder_of_sounds(tmp_path: Path) -> None:
    found = open_source(str(folder(tmp_path)), 0, Job(audio=PLAN)).split(SHAPE)
    assert found.classes == ("high", "low")
    assert (len(found.train), len(found.test)) == (16, 4), "two halves of a second from each file"
    high = found.train.pixels[found.train.labels == 0]
    low = found.train.pixels[found.train.labels == 1]
    assert high[..., 0].mean((0, 1)).argmax() > low[..., 0].mean((0, 1)).argmax() + 5


def test_a_wrong_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="8000 samples a second, the job says 16000") as error:
        open_source(str(folder(tmp_path, 8000)), 0, Job(audio=PLAN)).split(SHAPE)
    assert error.value.where.endswith(".wav") and "rate = 8000" in error.value.fix


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (folder(tmp_path) / "low" / "0.wav").write_bytes(b"RIFF no")
    with pytest.raises(UserError, match="unreadable sound") as error:
        open_source(str(tmp_path), 0, Job(audio=PLAN)).split(SHAPE)
    assert error.value.where.endswith("0.wav")


@pytest.mark.parametrize("plan", [{"seconds": 0.01}, {"low_hz": 9000}])
def test_settings_that_cannot_be(tmp_path: Path, plan: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"make no 16 frames|is not below"):
        open_source(str(folder(tmp_path)), 0, Job(audio=AudioSection.model_validate(plan))).split(SHAPE)


def test_a_short_file_ends_in_silence(tmp_path: Path) -> None:
    folder(tmp_path)
    soundfile.write(tmp_path / "low" / "0.wav", tone(300, 0.1), 16000)
    found = open_source(str(tmp_path), 0, Job(audio=PLAN)).split(SHAPE)
    assert any((x[-4:] == 0).all() for x in (*found.train.pixels, *found.test.pixels))


class FakeStream:
    """A second of a low tone, then of a high one."""

    def __init__(self) -> None:
        self._wave = np.concatenate([tone(300, 1), tone(3000, 1)])

    def read(self, count: int) -> tuple[Any, bool]:
        head, self._wave = self._wave[:count], self._wave[count:]
        return head[:, None], False


def test_a_microphone_shows_the_last_moment() -> None:
    ear = microphone.Microphone(FakeStream(), SHAPE, PLAN)
    shown = [ear.read().pixels for _ in range(20)]
    assert shown[9].mean((0, 2)).argmax() < shown[19].mean((0, 2)).argmax() - 5
    assert (shown[0][:12] == 0).all() and shown[0][-1].max() > 100, "it begins in silence"


def test_no_microphone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "need_keys", lambda where: None)
    source = open_source("microphone:99", 0, Job(capture=CaptureSection(classes=("a", "b"))))
    with pytest.raises(UserError, match=r"no microphone there|cannot be loaded"):
        source.split(SHAPE)
