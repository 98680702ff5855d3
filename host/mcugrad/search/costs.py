"""What a scheme costs, from the planner and the instruction table: milliseconds, no C."""

from __future__ import annotations

from dataclasses import dataclass

from mcugrad import pipeline
from mcugrad.boards import Board
from mcugrad.ir import Graph
from mcugrad.passes.schemes import Scheme, analytic_memory
from mcugrad.plan.again import planned
from mcugrad.plan.fit import lay
from mcugrad.search.latency import instructions


@dataclass(frozen=True)
class Cost:
    """analytic: the paper's extra memory, in bytes; ram: the board's whole RAM with the stack, in bytes, as
    planned; fits: whether the board has it; instructions: of one step, predicted."""

    analytic: int
    ram: int
    fits: bool
    instructions: int

    def memory(self, measure: str) -> int:
        return self.analytic if measure == "analytic" else self.ram


class Costs:
    """Costs of one model's schemes on one board; a scheme is planned once."""

    def __init__(self, forward: Graph, board: Board) -> None:
        self.forward, self.board = forward, board
        self._known: dict[str, Cost] = {}

    def of(self, scheme: Scheme) -> Cost:
        key = str(scheme)
        if key not in self._known:
            self._known[key] = self._plan(scheme)
        return self._known[key]

    def _plan(self, scheme: Scheme) -> Cost:
        graph = pipeline.lowered(pipeline.uncalibrated(self.forward, str(scheme)))
        graph, placed = planned(graph, exact=False)
        laid = lay(graph, placed, self.board)
        fits = all(r.used <= r.memory.size for r in laid.regions)
        return Cost(
            analytic_memory(self.forward, scheme),
            laid.total,
            fits,
            instructions(graph, placed),
        )
