"""Live sources: a video file as the camera, a pty as the sensor, keys as the labels."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.style import Style

from mcugrad.config import CaptureSection, Job, SensorSection
from mcugrad.errors import UsageError, UserError
from mcugrad.sources import camera, live, of_job, open_source, stream
from mcugrad.sources.image import Shape
from mcugrad.sources.preview import picture
from mcugrad.sources.replay import record

SHAPE = (16, 20, 3)
CLASSES = CaptureSection(classes=("red", "blue"), count=60)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Thirty red frames, then thirty blue ones."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 200, (80, 64))
    for i in range(60):
        writer.write(np.full((64, 80, 3), (0, 0, 220) if i < 30 else (220, 0, 0), np.uint8))
    writer.release()
    return path


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have one key pressed at each sample; a space is none."""

    def press(text: str) -> None:
        pressed = iter(text)

        @contextlib.contextmanager
        def keyboard() -> Iterator[live.Pressed]:
            yield lambda: next(pressed, "").strip()

        monkeypatch.setattr(live, "keyboard", keyboard)
        for module in (camera, stream):
            monkeypatch.setattr(module, "need_keys", lambda where: None)

    return press


def test_a_video_is_labelled_by_keys(clip: Path, keys: Callable[[str], None]) -> None:
    keys("1 " * 15 + "2 " * 15)
    source = of_job(Job.model_validate({"data": {"source": f"camera:{clip}"}, "capture": CLASSES}))
    found = source.split(SHAPE)
    assert source.live and (len(found.train), len(found.test)) == (24, 6)
    red, blue = (found.train.pixels[found.train.labels == k].mean((0, 1, 2)) for k in (0, 1))
    assert red[0] > 200 > 40 > red[2] and blue[2] > 200 > 40 > blue[0]
    assert source.split(SHAPE).train.pixels is found.train.pixels, "captured once"


def test_a_video_keeps_its_pace(clip: Path, keys: Callable[[str], None]) -> None:
    keys("12" * 30)
    began = time.monotonic()
    open_source(f"camera:{clip}", 0, Job(capture=CLASSES)).split(SHAPE)
    assert time.monotonic() - began > 59 / 200


def test_q_ends_and_count_ends(clip: Path, keys: Callable[[str], None]) -> None:
    keys("1" * 6 + " " * 30 + "2" * 6 + "q" + "1" * 9)
    found = open_source(f"camera:{clip}", 0, Job(capture=CLASSES)).split(SHAPE)
    assert len(found.train) + len(found.test) == 12
    keys("1" * 5 + " " * 30 + "2" * 25)
    few = CaptureSection(classes=("red", "blue"), count=10)
    found = open_source(f"camera:{clip}", 0, Job(capture=few)).split(SHAPE)
    assert len(found.train) + len(found.test) == 10


def test_a_class_that_nobody_showed_is_named(clip: Path, keys: Callable[[str], None]) -> None:
    keys("1" * 60)
    with pytest.raises(UserError, match="'blue'"):
        open_source(f"camera:{clip}", 0, Job(capture=CLASSES)).split(SHAPE)


def test_what_was_captured_is_replayed_byte_for_byte(
    clip: Path, keys: Callable[[str], None], tmp_path: Path
) -> None:
    keys("1 " * 15 + "2 " * 15)
    found = open_source(f"camera:{clip}", 0, Job(capture=CLASSES)).split(SHAPE)
    (tmp_path / "job.toml").write_text("")
    record(found, tmp_path)
    clip.unlink()
    again = open_source(f"replay:{tmp_path}").split(SHAPE)
    assert again.crc == found.crc and again.classes == found.classes
    assert (again.train.pixels == found.train.pixels).all()


def test_no_camera_is_said(keys: Callable[[str], None], capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    keys("")
    for text, fix in (("99", "plug one in"), ("/nowhere.mp4", "path of a video")):
        with pytest.raises(UserError, match="no camera there") as error:
            open_source(f"camera:{text}", 0, Job(capture=CLASSES)).split(SHAPE)
        assert fix in error.value.fix or "cameras here" in error.value.fix
    assert not capfd.readouterr().err, "OpenCV must not talk of it too"


def test_without_a_terminal_keys_are_asked_for(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="no terminal"):
        open_source(f"camera:{clip}", 0, Job(capture=CLASSES)).split(SHAPE)


def test_classes_must_be_named() -> None:
    with pytest.raises(UsageError, match="names of its classes"):
        open_source("camera:0")


def test_no_run_to_replay(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run is recorded here"):
        open_source(f"replay:{tmp_path}")


def test_keys_of_a_real_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        with live.keyboard() as pressed:
            assert pressed() == ""
            os.write(ours, b"2")
            time.sleep(0.05)
            assert pressed() == "2", "without Enter"
    os.close(ours)


class Sender:
    """Writes lines to a pty until it is closed."""

    def __init__(self, lines: Iterator[str], seconds: float = 0.001) -> None:
        self._ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.name, self._theirs, self._stop = os.ttyname(theirs), theirs, False
        self._thread = threading.Thread(target=self._send, args=(lines, seconds), daemon=True)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def _send(self, lines: Iterator[str], seconds: float) -> None:
        for line in lines:
            if self._stop:
                return
            os.write(self._ours, line.encode() + b"\r\n")
            time.sleep(seconds)

    def __exit__(self, *error: object) -> None:
        self._stop = True
        self._thread.join()
        os.close(self._ours)
        os.close(self._theirs)


def readings(label: bool = True, bad: int = 0) -> Iterator[str]:
    yield "0.1,0."
    for i in range(100_000):
        kind = "ab"[i // 40 % 2]
        x = 0.5 if kind == "a" else -0.5
        yield "garbage" if bad and i % bad == 0 else f"{x},{i % 3 / 10}" + f",{kind}" * label


def serial_split(lines: Iterator[str], shape: Shape = (8, 2, 1), **plan: object):  # type: ignore[no-untyped-def]
    job = {"capture": {"classes": ["a", "b"], "count": 40}, "sensor": plan}
    with Sender(lines) as sender:
        return open_source(f"serial:{sender.name}", 0, Job.model_validate(job)).split(shape)


@pytest.mark.parametrize("bad", [0, 50])
def test_a_labelled_stream(bad: int) -> None:
    found = serial_split(readings(bad=bad))
    assert len(found.train) + len(found.test) == 40
    for x, label in zip(found.train.pixels, found.train.labels, strict=True):
        assert (x[:, 0, 0] == (191 if label == 0 else 64)).all(), "no window holds two labels"


def test_a_stream_without_labels_takes_keys(keys: Callable[[str], None]) -> None:
    keys("12" * 40)
    found = serial_split(readings(label=False), label="")
    assert set(found.train.labels) == {0, 1}


@pytest.mark.parametrize(
    ("lines", "plan", "what"),
    [
        (lambda: iter(["no sense"] * 500), {}, "lines make no sense"),
        (lambda: iter(["nan,1,a"] * 500), {}, "the reading is nan"),
        (lambda: iter(["1,2,3,a"] * 500), {}, "3 columns of readings, the model takes 8x2x1"),
        (lambda: iter(["x,y,label", "1,2,c"] * 500), {}, "the stream has the label 'c'"),
        (lambda: iter(["x,y,label", "1,2,a"] * 500), {"columns": ["z"]}, "no column z"),
        (readings, {"rate": 5}, "rows a second, the job says 5"),
        (lambda: iter(["1,2,a"]), {}, "no line in"),
    ],
)
def test_what_is_wrong_with_a_stream(
    lines: Callable[[], Iterator[str]], plan: dict[str, object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SILENCE", 0.5)
    with pytest.raises(UserError, match=what):
        serial_split(lines(), **plan)


def test_no_port() -> None:
    with pytest.raises(UserError, match="cannot open the port"):
        open_source("serial:/dev/nowhere", 0, Job(capture=CLASSES, sensor=SensorSection())).split((8, 2, 1))


def test_a_picture_has_two_pixels_a_character() -> None:
    x = np.zeros((4, 3, 3), np.uint8)
    x[1, 2] = (1, 2, 3)
    text = picture(x)
    assert text.plain.splitlines() == ["▀▀▀", "▀▀▀"]
    style = text.spans[2].style
    assert isinstance(style, Style) and style.bgcolor and style.bgcolor.triplet == (1, 2, 3)
    assert max(map(len, picture(np.zeros((128, 128, 1), np.uint8), 28).plain.splitlines())) <= 28
    assert len(picture(np.zeros((64, 3, 1), np.uint8), 28).plain.splitlines()) <= 14
