"""One run's database -> curves.png and one self-contained page."""

from mcugrad.report.page import write

__all__ = ["write"]
