"""Words of scratch memory for kernels that have a fast way; kernels/*.c say what they do with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from mcugrad.ir import Value
from mcugrad.ops.op import Attrs, Work

NONE = Work(0, 0)
MATRIX = 768  # words at most for windows and widened weights
CHANNELS = 8  # at a time at least: whole bytes of a mask
SUMS = 48  # channels at most whose sums are kept
TAPS = 144  # of a 1x1 convolution at a time, beside sums
PART = 128  # input channels at most whose merged weights are widened
ROWS, ROW_WORDS = 32, 640  # of a 1x1 weight gradient at a time, and what they take with a quad
FEW = 6  # rows of a weight gradient, below which its operand would be taken apart too often
BLOCK = 4 * ROWS  # sums of a block of a weight gradient, at most
PIXELS = 256  # that a 1x1 weight gradient sums
LONGEST = 192  # products in a row of a window
PLANES = 532  # words at most for rows of four channels of a depthwise map
WINDOW = 720  # the same where that spares strips: for the rows of one window
LANE_PITCH, LANE_LINE = (
    20,
    6,
)  # words of a row of two channels of a depthwise input gradient, of one of its lines
LANE_ROWS = 18  # at most
STRIP = 40  # columns of such a map, above which it may be cut in two
SUMMED, WIDENED = 64, 64  # pixels whose sums a 1x1 input gradient keeps; output channels at a time, at least


def pointwise(kernel: Sequence[int], attrs: Attrs) -> bool:
    """A 1x1 convolution that keeps the map's size."""
    return (prod(kernel), attrs["stride"], attrs["pad"]) == (1, 1, 0)


def _either(*ways: Work) -> Work:
    """Enough for each of them."""
    return Work(max((w.least for w in ways), default=0), max((w.most for w in ways), default=0))


def conv2d(ins: Sequence[Value], attrs: Attrs) -> Work:
    """conv__matrix.c, with a mask or without."""
    (h, w, _), (co, kh, kw, ci) = ins[0].shape, ins[1].shape
    pixels = prod((n + 2 * attrs["pad"] - k) // attrs["stride"] + 1 for n, k in ((h, kh), (w, kw)))
    taps, one = kh * kw * ci, pointwise((kh, kw), attrs)
    longest = 108 if taps % 4 else 384 if one else 256
    whole = taps <= longest and attrs["shift"] == 0 and (taps % 4 == 0 or co % 2 == 0)
    rows = kw * ci % 4 == 0 and (kw * ci <= LONGEST or one)
    if pixels < 4:
        return Work(ci // 2, ci // 2) if one and ci % 4 == 0 and co % 2 == 0 else NONE
    ways, sums = [_at_once(pixels, co, taps, one)] if whole else [], Work(0, 0)
    if rows:
        sums = _by_sums(min(TAPS, taps) if one else kw * ci, one, co)
    if rows and not (whole and co % CHANNELS == 0):
        return _either(*ways, sums)
    found = _either(*ways)
    return replace(found, tight=sums.least if taps % 4 == 0 and sums.least < found.least else 0)


def _at_once(pixels: int, co: int, taps: int, one: bool) -> Work:
    """Windows of four pixels, and widened weights where that pays."""
    pitch, windows = _windows(taps, one)
    most = widened(pixels, co, taps, one, MATRIX)
    return Work(
        windows + (min(CHANNELS, co) * pitch // 2 if taps < pitch else 0), windows + most * pitch // 2
    )


def _windows(taps: int, one: bool) -> tuple[int, int]:
    """(products a sum in whole words of int8, words of four windows)"""
    pitch = -(-taps // 4) * 4
    return pitch, 2 * pitch if one and taps == pitch else 3 * pitch


def widened(pixels: int, co: int, taps: int, one: bool, words: int) -> int:
    """Channels whose weights are widened at a time in so many words; 0 where they stay int8."""
    pitch, windows = _windows(taps, one)
    most = _channels(co, max(2 * (words - windows) // pitch, 0))
    # In 3/16 of an instruction a product and pixel, which are won: windows again, weights once.
    dear = not most or 6 * (-(-co // most) - 1) * pixels + 8 * co > pixels * co
    return 0 if taps == pitch and (dear or co % 2) else most


def _channels(co: int, fit: int) -> int:
    """All, or as many whole bytes of them as fit."""
    return co if co <= fit else fit // CHANNELS * CHANNELS


def _by_sums(taps: int, one: bool, co: int) -> Work:
    windows = (2 if one else 3) * taps
    return Work(windows + 4 * min(CHANNELS, co), windows + 4 * min(SUMS, co))


def conv2d_part(ins: Sequence[Value], attrs: Attrs) -> Work:
    """The same with merged weights; two channels' rows, or one where few pixels leave the portable loops."""
    (h, w, _), (co, _, _, ci) = ins[0].shape, ins[1].shape
    if h * w < 4:
        return Work(-(-ci // 4), -(-ci // 4))
    windows, rows = 2 * ci + -(-ins[5].size // 4), 2 * min(TAPS, ci) + 4 * 2 + ci // 2
    most = _channels(-(-co // CHANNELS) * CHANNELS, 2 * (MATRIX - 2 * ci) // ci)
    ways = [Work(windows + CHANNELS * ci // 2, windows + most * ci // 2)] if ci <= PART else []
    return _either(*ways, *([Work(rows, rows)] if ci > PART or co % CHANNELS else []))


def conv2d_dx(ins: Sequence[Value], attrs: Attrs) -> Work:
    """conv_dx__1x1.c: the weights of four input channels, or some of them and sums."""
    (h, w, _), (co, kh, kw, ci) = ins[0].shape, ins[1].shape
    if not pointwise((kh, kw), attrs) or co % 4:
        return NONE
    sums, every = 4 * min(SUMMED, h * w), 2 * co
    some = sums + 2 * min(WIDENED, co)
    return Work(some, sums + every) if ci % 4 else Work(min(every, some), every)


def conv2d_dw(da: Value, x: Value, attrs: Attrs) -> Work:
    """conv_dw__1x1.c; any number of output channels, as they may be chosen at run time."""
    (h, w, ci), kernel = x.shape, attrs["kernel"]
    if not pointwise(kernel, attrs) or h * w > PIXELS or da.shape[2] < 2:
        return NONE
    padded = -(-h * w // 4) * 4
    quad, row = 2 * padded, padded // 2 + 4
    rounds = -(-ci // min(ROWS, 2 * ROW_WORDS // padded - 4))
    most = -(-ci // rounds)
    return Work(quad + min(most, FEW) * row, quad + most * row)


def conv2d_dw_sgd(ins: Sequence[Value], attrs: Attrs) -> Work:
    """The same, or a block of sums; by planes, see conv_dw__planes.c."""
    w, _, da, _, _, _, x = ins[:7]
    if attrs.get("planes"):
        quad, ci = 2 * x.shape[1] * x.shape[2], x.shape[0]
        return Work(quad + 4 * min(ci, FEW), quad + 4 * min(ci, ROWS))
    block = min(BLOCK, w.size)
    return _either(Work(block, block), conv2d_dw(da, x, attrs))


def depthwise_conv2d(ins: Sequence[Value], attrs: Attrs, in_place: bool) -> Work:
    """conv__depthwise.c, or a channel of x where y may lie over it."""
    (h, w, _), (kernel, _, _), stride = ins[0].shape, ins[1].shape, attrs["stride"]
    kept = -(-h * w // 4) if in_place else 0
    if not _usual(ins[1], attrs) or attrs["shift"]:
        return Work(kept, kept)
    oh, ow = ((n + 2 * attrs["pad"] - kernel) // stride + 1 for n in (h, w))
    most, least = ((-(-n // 4) * 4 - 1) * stride + kernel for n in (ow, -(-ow // 2)))
    rows = (oh - 1) * stride + 3 if kernel == 3 else h
    taps, columns = kernel * _tap_words(kernel, stride), (most if in_place or most <= STRIP else least, most)
    return _either(_planes(taps, columns, (kernel, rows), 32 if ow % 4 else 0), Work(kept, kept))


def depthwise_rows(ins: Sequence[Value], attrs: Attrs) -> int:
    """Words with which conv__depthwise.c takes a few rows of x at a time and y may begin pad_top rows of x
    before them: no strips, as they overlap; 0 where that is too much."""
    kernel, stride = ins[1].shape[0], attrs["stride"]
    ow = (ins[0].shape[1] + 2 * attrs["pad"] - kernel) // stride + 1
    columns, taps = (-(-ow // 4) * 4 - 1) * stride + kernel, kernel * _tap_words(kernel, stride)
    if not _usual(ins[1], attrs) or attrs["shift"] or -(-columns // 2) * 4 * kernel > PLANES:
        return 0
    return _planes(taps, (columns, columns), (kernel, kernel), 32 if ow % 4 else 0).least


def pixels_of_four(kernel: int, stride: int, width: int, words: int) -> int:
    """How many pixels of four channels conv__depthwise.c keeps, for outputs so wide, in so many words."""
    return (words - (32 if width % 4 else 0) - 4 * kernel * _tap_words(kernel, stride)) // 2


def depthwise_conv2d_dx(ins: Sequence[Value], attrs: Attrs, in_place: bool) -> Work:
    """conv_dx__depthwise.c, or a channel of da where dx may lie over it."""
    (oh, ow, _), (_, w), (kernel, _, _) = ins[0].shape, attrs["in_shape"], ins[1].shape
    stride, pad = attrs["stride"], attrs["pad"]
    kept = -(-oh * ow // 2) if in_place else 0
    if not _usual(ins[1], attrs) or pad != kernel // 2:
        return Work(kept, kept)
    high = [_phase_taps(phase, kernel, stride) for phase in range(stride)]
    whole = lane_columns(w, kernel, stride) <= LANE_PITCH
    unrolled = kernel == 3 and w % 2 == 0 and whole
    taps = sum(high) * sum(x if unrolled else max(x, 3) for x in high)
    lines = 0 if unrolled else stride**2 * (1 if whole and w % (2 * stride) == 0 else 2)
    row, rows = LANE_PITCH + LANE_LINE * lines, oh + (2 // stride if unrolled else 0)
    least = rows if in_place else min(rows, high[-1])
    return Work(3 * taps + row * least, 3 * taps + row * max(least, min(rows, LANE_ROWS)))


def _phase_taps(phase: int, kernel: int, stride: int) -> int:
    """Taps along an axis that inputs with this remainder by the stride meet."""
    return (phase + kernel // 2) // stride + kernel // 2 // stride + 1


def lane_columns(width: int, kernel: int, stride: int) -> int:
    """Of da, with those beside the map, for all columns of dx at once."""
    return -(-width // stride) + max(_phase_taps(stride - 1, kernel, stride), 3) - 1


def _usual(w: Value, attrs: Attrs) -> bool:
    kernel, width, channels = w.shape
    square = kernel == width and kernel in (3, 5, 7) and attrs["pad"] <= kernel // 2
    return square and attrs["stride"] in (1, 2) and channels % 4 == 0


def _tap_words(taps: int, stride: int) -> int:
    """Words of two taps each for a row of them; runs.h."""
    return (taps + 1) // 2 if stride == 2 else max(taps - 1, 1)


def _planes(taps: int, columns: tuple[int, int], rows: tuple[int, int], before: int) -> Work:
    """Of four channels: taps, and so many rows of so many columns at least and at most; planes.h."""
    least, most = (-(-c // 2) * 4 * max(r, rows[0]) for c, r in zip(columns, rows, strict=True))
    before += 4 * taps
    window = -(-columns[1] // 2) * 4 * rows[0]
    return Work(before + min(PLANES, least), before + min(max(PLANES, window * (window <= WINDOW)), most))
