"""What is measured: models, schemes and update modes; the bar for each, and what a peer needs."""

from __future__ import annotations

from dataclasses import dataclass

from mcugrad import data
from mcugrad.config import Update
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.frontend.drawn import Net
from mcugrad.ir import Graph
from mcugrad.passes.schemes import INFERENCE

CLASSES = 10
DRAWN = "drawn-80x80"  # a model that has no file
# Of DRAWN: channels that are expanded to (0: nothing is), that leave; kernel and stride between.
_BLOCKS = (
    (0, 8, 3, 1),
    *((40, 16, 3, 2), (64, 16, 3, 1), (48, 16, 3, 1)),
    *((80, 24, 7, 2), (120, 24, 5, 1), (120, 24, 3, 1)),
    *((160, 40, 5, 2), (200, 40, 3, 1), (160, 48, 7, 1), (192, 48, 7, 1)),
    *((336, 96, 3, 2), (480, 96, 3, 1), (480, 160, 3, 1)),
)


@dataclass(frozen=True)
class Peer:
    """What another engine needs for a network of the same shape or size; instructions and RAM by part."""

    name: str
    macs: int
    instructions: dict[str, int]
    ram: dict[str, int]
    flash: int


@dataclass(frozen=True)
class Case:
    """One model, scheme and update mode.

    whole: no map by rows, fewer instructions in more RAM. bar: the instructions that we aim at. extra: only
    with --all.
    """

    model: str
    scheme: str
    update: Update = "8.8"
    whole: bool = False
    bar: int | None = None
    extra: bool = False

    @property
    def key(self) -> str:
        unusual = [self.update] * (self.update != "8.8") + ["whole"] * self.whole
        return " ".join([self.model, self.scheme, *unusual])

    @property
    def peer(self) -> Peer | None:
        return PEERS.get((self.model, self.scheme))

    def present(self) -> bool:
        try:
            self.model == DRAWN or data.model_path(self.model)
        except UserError:
            return False
        return True

    def load(self) -> Graph:
        """The quantised forward graph."""
        return drawn() if self.model == DRAWN else models.load(self.model, CLASSES)


def drawn() -> Graph:
    """A network of our own for 80x80 images and two classes, 11.6 M MACs, its weights from a seed: of the
    kind and size that finds persons in images on a microcontroller."""
    net = Net((80, 80, 3), 80, DRAWN).conv("conv0", 16, 3, 2)
    for i, block in enumerate(_BLOCKS):
        net.block(f"b{i}", *block)
    return net.head(2)


# Measured on an emulated Cortex-M7 by the same count: TinyEngine 47bb283, -Ofast; examples/tiny_training.py,
# and its person detection (assets/vww.tflite, 80x80, two classes).
PEERS = {
    ("mcunet-5fps", "49kb"): Peer(
        "TinyEngine",
        32_384_704,
        {"forward": 65_035_991, "backward+update": 41_335_241, "total": 106_371_232},
        {"static": 231_608, "stack": 21_784, "total": 253_392},
        663_676,
    ),
    (DRAWN, INFERENCE): Peer(
        "TinyEngine, vww",
        11_578_816,
        {"forward": 34_526_200, "total": 34_526_200},
        {"static": 94_000, "stack": 560, "total": 94_560},
        512_655,
    ),
}

DEFAULT = Case("digits-tiny", "10kb")
LARGE = [
    Case("mcunet-5fps", "49kb", bar=42_000_000),
    Case("mcunet-5fps", "74kb"),
    Case("mcunet-5fps", "99kb"),
    Case("mbv2-w0.35", "49kb"),
    Case("mbv2-w0.35", "99kb"),
    Case("proxyless-w0.3", "49kb"),
    Case("proxyless-w0.3", "98kb"),
]
INT8 = [Case(c.model, c.scheme, "int8", bar=c.bar, extra=c.bar is None) for c in LARGE]
INFERENCES = [
    Case("mcunet-5fps", INFERENCE),
    Case(DRAWN, INFERENCE),
    Case(DRAWN, INFERENCE, whole=True, bar=14_500_000),
]
CASES = [DEFAULT, *LARGE, *INFERENCES, *INT8]
