"""Stored figures that a benchmark may not rise above: a JSON file, figure by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ALLOWED_RISE = 1.01


def load(path: Path) -> dict[str, Any]:
    """Nothing where there is no file yet."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def renew(path: Path, found: Mapping[str, Any]) -> None:
    """Put what was found in the place of what is stored; the rest stays."""
    path.write_text(json.dumps(load(path) | dict(found), indent=1) + "\n")


def risen(value: int, base: int) -> bool:
    """Whether a figure is more than 1 % above its baseline."""
    return value > base * ALLOWED_RISE
