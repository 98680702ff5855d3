"""microphone: as a live source; a key labels the last seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mcugrad.config import AudioSection, Job
from mcugrad.errors import UserError
from mcugrad.sources.image import Shape
from mcugrad.sources.live import LiveSource, Shown, need_keys
from mcugrad.sources.sound import Sound, length, log_mel

_A_SECOND = 10  # times that the picture moves


def opened(text: str, job: Job) -> LiveSource:
    """The default microphone, or one by its number or name."""
    name = f"microphone:{text}"

    @contextmanager
    def feed(shape: Shape) -> Iterator[Microphone]:
        need_keys(name)
        with _open(text, name, job.audio) as stream:
            yield Microphone(stream, shape, job.audio)

    return LiveSource(name, job.capture, feed)


class Microphone:
    """The last plan.seconds, again and again; `stream.read(n)` gives ([n, 1], overflowed)."""

    def __init__(self, stream: Any, shape: Shape, plan: AudioSection) -> None:
        self._stream, self._shape, self._plan = stream, shape, plan
        self._wave: Sound = np.zeros(length(plan), np.float32)

    def read(self) -> Shown:
        new, _ = self._stream.read(max(1, self._plan.rate // _A_SECOND))
        self._wave = np.concatenate([self._wave, new[:, 0]])[-len(self._wave) :]
        return Shown(log_mel(self._wave, self._shape, self._plan))


def _open(text: str, name: str, plan: AudioSection) -> Any:
    try:
        import sounddevice
    except (ModuleNotFoundError, OSError) as error:
        fix = "pip install 'mcugrad[audio]'; apt install libportaudio2"
        raise UserError(f"sounddevice cannot be loaded ({error})", name, fix) from None
    device = int(text) if text.isdecimal() else text or None
    try:
        return sounddevice.InputStream(samplerate=plan.rate, channels=1, dtype="float32", device=device)
    except (sounddevice.PortAudioError, ValueError) as error:
        fix = "plug one in, or name another: python -m sounddevice lists them"
        raise UserError(f"no microphone there ({error})", name, fix) from None
