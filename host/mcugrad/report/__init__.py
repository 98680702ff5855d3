"""One run's database -> curves.png and one self-contained page."""

from mcugrad.report.page import save, write

__all__ = ["save", "write"]
