"""camera:0 (V4L2, or whatever OpenCV finds) and camera:clip.mp4 as live sources."""

from __future__ import annotations

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
        camera = Camera(_open(text, name), shape, name)
        try:
            yield camera
        finally:
            camera.close()

    return LiveSource(name, job.capture, feed)


class Camera:
    """Frames at the model's size; the end of a video file ends it."""

    def __init__(self, device: Any, shape: Shape, name: str) -> None:
        self._device, self._shape, self._name = device, shape, name

    def read(self) -> Shown | None:
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
    device = cv2.VideoCapture(int(text or 0) if not text or text.isdecimal() else text)
    if not device.isOpened():
        raise UserError("no camera there, or no video that can be read", name, _advice(text))
    return device


def _advice(text: str) -> str:
    cameras = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    if text and not text.isdecimal():
        return "give the path of a video file, or a camera's number"
    return f"cameras here: {', '.join(cameras)}" if cameras else "plug one in: there is no /dev/video* now"
