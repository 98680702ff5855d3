"""A contribution analysis written by hand: three layers of the default network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mcugrad import records

LOSSES = {"0": 2.0, "3": 1.8, "6": 1.7}
LOSSES |= {f"0 9:{s}": 2.0 - g for s, g in {"1/8": 0.1, "1/4": 0.2, "1/2": 0.25, "1": 0.3}.items()}
LOSSES |= {f"0 12:{s}": 2.0 - g for s, g in {"1/8": 0.3, "1/4": 0.4, "1/2": 0.5, "1": 0.6}.items()}
LOSSES |= {f"0 15:{s}": 2.0 - g for s, g in {"1/8": 0.4, "1/4": 0.7, "1/2": 0.8, "1": 0.9}.items()}
CASE = {
    "model": "digits-tiny",
    "data": "paper-digits",
    "samples": 60,
    "epochs": 1,
    "batch": 16,
    "gradients": "fp32",
    "lr": 0.03,
    "seed": 0,
}

# Maps this small make threads wait for each other.
torch.set_num_threads(1)


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    """File of the analysis."""
    path = tmp_path / "contributions.jsonl"
    for scheme, loss in LOSSES.items():
        case = CASE | {"scheme": scheme}
        records.append(path, {"case": case, "accuracy": 1 - loss / 4, "loss": loss, "diverged": False})
    return path
