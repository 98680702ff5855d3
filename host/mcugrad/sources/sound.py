"""Sound -> log-mel energies: a picture with time down and pitch across, at exactly the model's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcugrad.config import AudioSection
from mcugrad.errors import UserError
from mcugrad.sources.folder import Kind
from mcugrad.sources.image import Pixels, Shape

SUFFIXES = (".wav", ".flac", ".ogg")
Sound = NDArray[np.float32]  # -1..1, one channel


def sounds(plan: AudioSection) -> Kind:
    """Sound files as samples: consecutive pieces of plan.seconds; a shorter file ends in silence."""

    def read(path: Path, shape: Shape) -> Pixels:
        wave = _read(path, plan)
        size = length(plan)
        wave = np.pad(wave, (0, max(0, size - len(wave))))
        return np.stack(
            [log_mel(wave[i : i + size], shape, plan) for i in range(0, len(wave) - size + 1, size)]
        )

    return Kind("sound files", SUFFIXES, read)


def length(plan: AudioSection) -> int:
    """Samples of sound in one sample."""
    return round(plan.rate * plan.seconds)


def _read(path: Path, plan: AudioSection) -> Sound:
    try:
        import soundfile
    except (ModuleNotFoundError, OSError):
        raise UserError("soundfile is not installed", str(path), "pip install 'mcugrad[audio]'") from None
    try:
        data, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise UserError(f"unreadable sound ({error})", str(path), "mend or remove the file") from None
    if rate != plan.rate:
        fix = f"resample it to {plan.rate}, or set rate = {rate} in [audio]"
        raise UserError(f"{rate} samples a second, the job says {plan.rate}", str(path), fix)
    if not len(data) or not np.isfinite(data).all():
        raise UserError("no sound, or values that are no numbers", str(path), "mend or remove the file")
    wave: Sound = data.mean(1)
    return wave


def log_mel(wave: Sound, shape: Shape, plan: AudioSection) -> Pixels:
    """[samples] -> [H,W,C]: H frames, half of each shared with the next, of W mel bands in dB."""
    frames, bands, channels = shape
    hop = len(wave) // (frames + 1)
    if hop < 16:
        fix = "raise [audio] rate or seconds, or take a model with a lower input"
        raise UserError(f"{len(wave)} samples make no {frames} frames", "[audio]", fix)
    cut = np.lib.stride_tricks.sliding_window_view(wave, 2 * hop)[::hop][:frames].astype(np.float64)
    power = np.abs(np.fft.rfft(cut * np.hanning(2 * hop))) ** 2 / (
        1.5 * (hop / 2) ** 2
    )  # a full-scale tone: 1
    energy = power @ _bands(bands, 2 * hop, plan)
    decibel = 10 * np.log10(np.maximum(energy, 1e-30))
    pixels = np.rint(255 * np.clip(1 - decibel / plan.floor_db, 0, 1)).astype(np.uint8)
    return np.repeat(pixels[..., None], channels, axis=2)


def _bands(count: int, size: int, plan: AudioSection) -> NDArray[np.float64]:
    """[bins, bands]: triangles, evenly spaced in 2595 log10(1 + f / 700); each has one bin at least."""
    high = min(plan.high_hz, plan.rate / 2)
    if plan.low_hz >= high:
        raise UserError(
            f"low_hz {plan.low_hz:g} is not below {high:g}", "[audio] low_hz, high_hz", "swap them"
        )
    low, top = (2595 * np.log10(1 + f / 700) for f in (plan.low_hz, high))
    edges = 700 * (10 ** (np.linspace(low, top, count + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / plan.rate)[:, None]
    rise, fall = (bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:]
    bands = np.clip(np.minimum(rise, fall), 0, None)
    nearest = np.abs(bins - edges[1:-1]).argmin(0)
    bands[nearest, np.arange(count)] = np.maximum(
        bands[nearest, np.arange(count)], 1e-3 + (bands.max(0) == 0)
    )
    return bands
