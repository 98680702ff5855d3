"""Which board a scheme fits, and what its steps cost there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mcugrad import boards, pipeline
from mcugrad.build import build, size
from mcugrad.codegen.c import write
from mcugrad.config import Job
from mcugrad.errors import InternalError, OutOfMemoryError
from mcugrad.ir import Graph
from mcugrad.link.identity import Expected
from mcugrad.link.ports import emulated
from mcugrad.link.session import Session
from mcugrad.modes.rows import Cost
from mcugrad.modes.training import Probe
from mcugrad.passes.schemes import Ranking
from mcugrad.pipeline import Choices, Compiled
from mcugrad.plan.fit import fit, lay
from mcugrad.prepare import choices_of

LARGEST = "nucleo_h743zi2"


def smallest(job: Job, forward: Graph, scheme: str, ranking: Ranking | None) -> tuple[str | None, Compiled]:
    """The job's board, or the largest one where the scheme does not fit it, or None where it fits neither."""
    choices: Choices = {**choices_of(job), "ranking": ranking}
    compiled = pipeline.compile_model(forward, scheme, boards.load(LARGEST), lay=lay, **choices)
    for board in (job.board.id, LARGEST):
        try:
            space = fit(compiled.graph, compiled.plan, boards.load(board))
        except OutOfMemoryError:
            continue
        return board, replace(compiled, fit=space)
    return None, compiled


def planned(compiled: Compiled) -> Cost:
    """What a scheme without a board would take."""
    return Cost(compiled.fit.statics, compiled.fit.arena, compiled.fit.stack)


def counted(compiled: Compiled, board: str, probes: Sequence[Probe], folder: Path) -> Cost:
    """RAM with the high-water mark of the stack, and mean instructions of the probes, on the emulated board.

    InternalError if a step ends with other weights there than it did here.
    """
    elf = build(board, write(compiled.emitted, folder / "gen"), folder)
    space = size(elf, boards.load(board))
    expected = Expected.of(board, compiled.manifest, compiled.fit.statics)
    session = Session.connect(emulated(board, elf), boards.load(board).baud, expected, elf)
    try:
        taken = [_take(session, i, probe, compiled.manifest["feeds"]) for i, probe in enumerate(probes)]
        deepest = session.control({"cmd": "counters"})["stack"]["bytes"]
    finally:
        session.close()
    stack, instructions = max(deepest, *(t[0] for t in taken)), [t[1] for t in taken]
    return Cost(space.static, space.arena, stack, round(sum(instructions) / len(instructions)))


def _take(session: Session, i: int, probe: Probe, feeds: int) -> tuple[int, int]:
    """One step from the probe's weights -> the stack's high-water mark, instructions."""
    session.write_state(probe.before, applied=i)
    result = session.train(i + 1, probe.x.tobytes(), probe.label, probe.lr)
    if session.read_state() != probe.after:
        raise InternalError(f"step {i + 1} left other weights on the emulated board than on this machine")
    marks = session.emulated_marks(feeds)
    if not marks:
        raise InternalError("the emulated board has lost time stamps")
    return int(result["stack_high"]), marks[-1][0] - marks[0][0]
