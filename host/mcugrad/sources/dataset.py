"""A dataset by name as a source."""

from __future__ import annotations

from mcugrad import data
from mcugrad.sources.image import Shape, all_fitted
from mcugrad.sources.source import Samples, Split, checked


class NamedSource:
    """One of `mcugrad.data`'s datasets, with its own split."""

    live = False

    def __init__(self, name: str) -> None:
        self._data = data.load(name)
        self.name, self.classes = name, tuple(self._data.classes)

    def split(self, shape: Shape) -> Split:
        """Both parts at the model's size."""
        d = self._data
        train = Samples(all_fitted(d.x_train, shape), d.y_train)
        test = Samples(all_fitted(d.x_test, shape), d.y_test)
        return checked(Split(train, test, self.classes), f"the dataset '{self.name}'")
