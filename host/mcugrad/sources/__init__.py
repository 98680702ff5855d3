"""Where samples come from, all through one interface: files, live streams, and what an earlier run saw."""

from mcugrad.sources.open import is_live, of_job, open_source
from mcugrad.sources.source import Samples, Source, Split

__all__ = ["Samples", "Source", "Split", "is_live", "of_job", "open_source"]
