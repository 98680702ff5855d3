"""Images of any size -> pixels and codes of the model's input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcugrad.errors import UserError

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]
_MODES = {1: "L", 3: "RGB"}


def mode(shape: Shape) -> str:
    """Pillow's name of the model's colours; UserError where it takes neither grey nor RGB."""
    if shape[2] not in _MODES:
        what = f"the model takes {shape[2]} channels"
        raise UserError(what, "the model's input", "images give 1 (grey) or 3 (RGB)")
    return _MODES[shape[2]]


def as_bytes(values: NDArray[Any], where: str) -> Pixels:
    """Pixels 0..255 of any number type -> uint8, rounded; UserError with the place of one that is none."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "iuf":
        raise UserError(f"{values.dtype} values are no pixels", where, "give uint8, 0 to 255")
    _refuse(~np.isfinite(values), values, where, "mend or remove it")
    _refuse((values < 0) | (values > 255), values, where, "scale the pixels to 0..255")
    if values.dtype.kind == "f" and values.max(initial=0) <= 1 and (values % 1).any():
        raise UserError("the pixels lie between 0 and 1", where, "scale them to 0..255: 255 * x")
    pixels: Pixels = np.rint(values).astype(np.uint8)
    return pixels


def _refuse(bad: NDArray[np.bool_], values: NDArray[Any], where: str, fix: str) -> None:
    if count := int(bad.sum()):
        first = np.argwhere(bad)[0].tolist()
        others = f", one of {count} such" if count > 1 else ""
        raise UserError(f"the pixel at {first} is {values[tuple(first)]}{others}", where, fix)


def fitted(image: Image.Image, shape: Shape) -> Pixels:
    """One image, converted and resized with antialiasing to [H,W,C]; its middle, where the sides differ.

    UserError for pixels that are no numbers or beyond 0..255; 16-bit grey is scaled to 8.
    """
    height, width, channels = shape
    image = _in_bytes(image)
    image = image.convert(mode(shape))
    if image.size != (width, height):
        image = _resized(image, width, height)
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def _in_bytes(image: Image.Image) -> Image.Image:
    # Pillow would clip what is wider than a byte, and make black of what is no number.
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(as_bytes(np.asarray(image), "the image"))
    return image


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    # The largest part with the model's proportions: squeezing would change what things look like.
    scale = min(image.width / width, image.height / height)
    w, h = width * scale, height * scale
    left, top = (image.width - w) / 2, (image.height - h) / 2
    return image.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))


def all_fitted(images: Pixels, shape: Shape) -> Pixels:
    """[N,h,w,c] -> [N,H,W,C]; the very same pixels where the shape is the model's already."""
    if images.shape[1:] == shape:
        return images
    out = np.empty((len(images), *shape), np.uint8)
    for i, image in enumerate(images):
        out[i] = fitted(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), shape)
    return out


def codes(pixels: Pixels) -> NDArray[np.int8]:
    """Pixels -> the model's int8 input: in all front ends code q stands for pixel 128 + q, at any scale."""
    return (pixels ^ 0x80).view(np.int8)
