"""The processes of a search: as many as asked for here, and others that share its storage from elsewhere."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path

from mcugrad.search.evolve import Evolution, Search
from mcugrad.search.gains import Gains, Tell, analysed

_EVERY = 5.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Plan:
    """A search and the files that it reads and shares; see Search for the budgets."""

    contributions: Path
    board: str
    memory: int
    measure: str
    instructions: int
    by: str
    storage: str
    seed: int

    def evolution(self) -> Evolution:
        gains = Gains.load(self.contributions, self.by)
        budgets = (self.memory, self.measure, self.instructions, self.by)
        model = analysed(self.contributions).model
        return Evolution(Search(model, self.board, *budgets, gains.digest), gains, self.storage, self.seed)


def evolve(plan: Plan, trials: int, workers: int, tell: Tell) -> Evolution:
    """Bring the study to `trials`, here and in workers - 1 other processes; a killed one goes on."""
    evolution, began = plan.evolution(), time.monotonic()
    first, said = evolution.done(), began
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_work, args=(plan, trials)) for _ in range(workers - 1)]

    def told(done: int) -> None:
        nonlocal said
        if time.monotonic() - said > _EVERY:
            said = time.monotonic()
            left = (said - began) / max(done - first, 1) * (trials - done)
            tell(f"[{done}/{trials} trials, {left / 60:.0f} min left]")

    for process in others:
        process.start()
    evolution.run(trials, told)
    for process in others:
        process.join()
    tell(f"{evolution.done()} trials, {time.monotonic() - began:.0f} s")
    return evolution


def _work(plan: Plan, trials: int) -> None:
    plan.evolution().run(trials)
