"""camera:0 (V4L2, or whatever OpenCV finds) and camera:clip.mp4 as live sources."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mcugrad.config import Job
from mcugrad.errors import UserError
from mcugrad.sources.image import Shape, fitted, mode
from mcugrad.sources.live import LiveSource, Shown, need_keys


def opened(text: str, job: Job) -> LiveSource:
    """A camera by its number, or a video file."""
    name = f"camera:{text or 0}"

    @contextmanager
    def feed(shape: Shape) -> Iterator[Camera]:
        mode(shape)
        need_keys(name)
        device = _open(text, name)
        camera = Camera(device, shape, _pace(device, text))
        try:
            yield camera
        finally:
            camera.close()

    return LiveSource(name, job.capture, feed)


class Camera:
    """Frames at the model's size. A video file is shown at its own pace, and its end is the end.

    seconds: between two frames; 0 where the camera itself keeps time.
    """

    def __init__(self, device: Any, shape: Shape, seconds: float) -> None:
        self._device, self._shape, self._seconds = device, shape, seconds
        self._next = time.monotonic()

    def read(self) -> Shown | None:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = max(self._next + self._seconds, time.monotonic())
        there, frame = self._device.read()
        if not there:
            return None
        rgb = np.ascontiguousarray(frame[:, :, ::-1])  # OpenCV keeps blue first
        return Shown(fitted(Image.fromarray(rgb), self._shape))

    def close(self) -> None:
        self._device.release()


def _open(text: str, name: str) -> Any:
    try:
        import cv2
    except ModuleNotFoundError:
        raise UserError("OpenCV is not installed", name, "pip install 'mcugrad[camera]'") from None
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    device = cv2.VideoCapture(int(text or 0) if _is_number(text) else text)
    if not device.isOpened():
        raise UserError("no camera there, or no video that can be read", name, _advice(text))
    return device


def _pace(device: Any, text: str) -> float:
    rate = 0.0 if _is_number(text) else float(device.get(5))  # CAP_PROP_FPS
    return 1 / rate if rate > 0 else 0.0


def _is_number(text: str) -> bool:
    return not text or text.isdecimal()


def _advice(text: str) -> str:
    cameras = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    if not _is_number(text):
        return "give the path of a video file, or a camera's number"
    return f"cameras here: {', '.join(cameras)}" if cameras else "plug one in: there is no /dev/video* now"
