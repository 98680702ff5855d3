"""Named datasets and pretrained models: found by name, checked by sha256, decoded to arrays."""

from mcugrad.data.dataset import Dataset, load
from mcugrad.data.files import model_path
from mcugrad.data.registry import DATASETS, MODELS

__all__ = ["DATASETS", "MODELS", "Dataset", "load", "model_path"]
