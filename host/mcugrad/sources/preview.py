"""A sample as text: two pixels a character, for a terminal."""

from __future__ import annotations

from rich.color import Color
from rich.style import Style
from rich.text import Text

from mcugrad.sources.image import Pixels

_UPPER = "\N{UPPER HALF BLOCK}"


def picture(pixels: Pixels, columns: int = 48) -> Text:
    """uint8 [H,W,C] as half blocks, at most so many columns, and half as many lines; C other than 3: grey."""
    by = -(-max(pixels.shape[:2]) // columns)
    small = pixels[::by, ::by]
    text = Text(no_wrap=True)
    for top in range(0, small.shape[0], 2):
        lower = small[min(top + 1, small.shape[0] - 1)]
        for a, b in zip(small[top], lower, strict=True):
            text.append(_UPPER, Style(color=_colour(a), bgcolor=_colour(b)))
        text.append("\n")
    text.rstrip()
    return text


def _colour(pixel: Pixels) -> Color:
    r, g, b = pixel if len(pixel) == 3 else [pixel[0]] * 3
    return Color.from_rgb(int(r), int(g), int(b))
