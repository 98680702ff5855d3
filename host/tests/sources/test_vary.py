"""Normalisation and augmentation: integers only, the same for the same key, within what the job declares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mcugrad.config import AugmentSection, DataSection, Job, NormaliseSection
from mcugrad.sources import Samples, Split
from mcugrad.sources.declared import DeclaredSource
from mcugrad.sources.image import Shape
from mcugrad.sources.vary import augmented, normalised

IMAGES = hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3))


@given(IMAGES)
def test_stretch_spans_all_codes(x: np.ndarray) -> None:  # type: ignore[type-arg]
    found = normalised(x[None], "stretch")[0]
    if x.min() == x.max():
        assert (found == x).all()
    else:
        assert (found.min(), found.max()) == (0, 255)
        wide = (x.astype(float) - x.min()) * 255 / (float(x.max()) - x.min())
        assert np.abs(found - wide).max() <= 0.5


@given(IMAGES)
def test_standard_has_the_mean_and_the_deviation(x: np.ndarray) -> None:  # type: ignore[type-arg]
    found = normalised(x[None], "standard")[0].astype(float)
    if x.std() == 0:
        assert (found == 128).all()
    else:
        exact = np.clip(128 + 64 * (x - x.mean()) / x.std(), 0, 255)
        assert np.abs(found - exact).max() <= 0.7, "rounded, and the deviation is cut after eight bits"


def test_none_is_the_very_same_array() -> None:
    x = np.zeros((2, 3, 3, 1), np.uint8)
    assert normalised(x, "none") is x and augmented(x[0], AugmentSection(), "k").base is x


PLANS = st.builds(
    AugmentSection,
    flip=st.booleans(),
    shift=st.integers(0, 3),
    brightness=st.integers(0, 40),
    noise=st.integers(0, 9),
)


@given(IMAGES, PLANS, st.text(max_size=5))
def test_the_same_key_gives_the_same_pixels(x: np.ndarray, plan: AugmentSection, key: str) -> None:  # type: ignore[type-arg]
    one, two = augmented(x, plan, key), augmented(x, plan, key)
    assert (one == two).all() and one.shape == x.shape and one.dtype == np.uint8
    low, high = int(x.min()), int(x.max())
    most = plan.brightness + plan.noise
    assert low - most <= int(one.min()) and int(one.max()) <= high + most


@pytest.mark.parametrize(
    ("plan", "found"),
    [
        ({"flip": True}, {(1, 2, 3), (3, 2, 1)}),
        ({"shift": 1}, {(1, 2, 3), (1, 1, 2), (2, 3, 3)}),
        ({"brightness": 1}, {(0, 1, 2), (1, 2, 3), (2, 3, 4)}),
    ],
)
def test_every_declared_change_comes_and_no_other(plan: dict[str, int], found: set[tuple[int, ...]]) -> None:
    x = np.array([1, 2, 3], np.uint8).reshape(1, 3, 1)
    seen = {tuple(augmented(x, AugmentSection(**plan), str(i)).ravel().tolist()) for i in range(60)}
    assert seen == found


def test_noise_is_even() -> None:
    x = np.full((64, 64, 1), 100, np.uint8)
    values, counts = np.unique(augmented(x, AugmentSection(noise=2), "n"), return_counts=True)
    assert values.tolist() == [98, 99, 100, 101, 102] and counts.min() > 0.8 * 64 * 64 / 5


class Fixed:
    name, classes, live = "fixed", ("a", "b"), False

    def split(self, shape: Shape) -> Split:
        x = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4, 1)
        some = Samples(x, np.array([0, 1]))
        return Split(some, some, self.classes)


def test_training_is_varied_by_epoch_and_judging_is_not() -> None:
    job = Job(
        data=DataSection(seed=4), augment=AugmentSection(noise=20), normalise=NormaliseSection(mode="stretch")
    )
    source = DeclaredSource(Fixed(), job)
    split = source.split((4, 4, 1))
    assert split.train.pixels.max() == split.test.pixels.max() == 255
    first, again, other = (split.train.varied(1, epoch) for epoch in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    assert (split.test.varied(1, 0) == split.test.varied(1, 1)).all()
    some = split.some(2, 1, 0).train
    assert some.augment == job.augment and some.seed == 4
    assert source.raw and source.raw.train.pixels.max() == 31
