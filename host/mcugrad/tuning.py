"""Learning rates: the best of some, or one beyond them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Score = tuple[float, ...]


def climbed(rates: Sequence[float], score: Callable[[float], Score], further: int) -> float:
    """The rate with the largest score; of equal ones the smaller.

    While it is the smallest or the largest tried, one more beyond it is, in the rates' mean ratio and to two
    digits, at most `further` times.
    """
    tried = {lr: score(lr) for lr in sorted(rates)}
    factor = (max(rates) / min(rates)) ** (1 / max(1, len(rates) - 1))
    for _ in range(further if factor > 1 else 0):
        best = _best(tried)
        if min(tried) < best < max(tried):
            break
        beyond = float(f"{best * factor if best == max(tried) else best / factor:.2g}")
        tried[beyond] = score(beyond)
    return _best(tried)


def _best(tried: dict[float, Score]) -> float:
    return max(sorted(tried), key=lambda lr: tried[lr])
