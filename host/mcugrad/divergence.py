"""When a training has diverged: one rule for the board, the table of modes and the study."""

from __future__ import annotations

import math

FACTOR = 10
_MEMORY = 0.95


class Divergence:
    """Follows a training's losses, from `before`, the mean held-out loss of the network as it came.

    It has diverged at a loss that is not finite, and when the smoothed loss passes FACTOR times the larger of
    `before` and log(classes), the loss of knowing nothing. One sample moves the smoothed loss by a twentieth
    of its own. Of 49 trainings measured at rates from 0.002 to 1000, all that ended above chance with a lower
    loss than at first stayed below 6.2 times; all that passed 10 ended at chance or at eight times the loss.
    """

    def __init__(self, classes: int, before: float) -> None:
        self._before, self._guess, self._level = before, math.log(classes), before

    def at(self, loss: float) -> bool:
        """Whether it has diverged with this step's mean loss."""
        self._level = _MEMORY * self._level + (1 - _MEMORY) * loss
        return not self._level <= FACTOR * max(self._before, self._guess)

    def __str__(self) -> str:
        limits = f"that before training ({self._before:.3g}) and that of guessing ({self._guess:.3g})"
        return f"the smoothed loss, {self._level:.3g}, is over {FACTOR} times {limits}"
