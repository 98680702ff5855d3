"""The path from a model to C on one page: each stage takes and returns a frozen value that can be dumped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from mcugrad import paths
from mcugrad.boards import Board
from mcugrad.codegen.c import Emitted, emit, write
from mcugrad.config import Update
from mcugrad.frontend import models
from mcugrad.ir import Graph
from mcugrad.ir.text import print_graph
from mcugrad.ops.signature import checked
from mcugrad.optim.sgd import biases, sgd
from mcugrad.passes.autodiff import differentiate, with_loss
from mcugrad.passes.calibrate import calibrate
from mcugrad.passes.dynamic import make_dynamic
from mcugrad.passes.fuse import fuse
from mcugrad.passes.parts import keep_parts, whole
from mcugrad.passes.planes import as_planes
from mcugrad.passes.schemes import Ranking, scheme_for
from mcugrad.passes.scratch import with_scratch
from mcugrad.passes.sparse import requests
from mcugrad.plan.again import planned
from mcugrad.plan.check import check
from mcugrad.plan.fit import Fit, fit
from mcugrad.plan.memory import Plan
from mcugrad.plan.report import describe
from mcugrad.plan.scratch import grown

Dump = Callable[[str, str], None]  # stage, text


@dataclass(frozen=True)
class Compiled:
    """All that a run needs of a compiled job."""

    forward: Graph
    graph: Graph
    plan: Plan
    fit: Fit
    manifest: Mapping[str, Any]
    emitted: Emitted


class Choices(TypedDict, total=False):
    """What decides a training step beside its scheme.

    ranking: which channels a partly trained layer trains, instead of those with the largest norm.
    update: what a trained integer keeps of steps smaller than one, ops/update.py; seed: of int8's rounding.
    """

    ranking: Ranking | None
    update: Update
    seed: int


def training_graph(
    forward: Graph, scheme: str, dump: Dump | None = None, **choices: Unpack[Choices]
) -> Graph:
    """Quantised graph -> the whole training step. Raises UserError for a bad scheme."""
    graph = calibrate(uncalibrated(forward, scheme, dump, **choices))
    _show(dump, "calibrate", graph)
    return graph


def uncalibrated(forward: Graph, scheme: str, dump: Dump | None = None, **choices: Unpack[Choices]) -> Graph:
    """The same but for the start values of the gradients' growth: enough to plan, and far faster."""
    _show(dump, "import", forward)
    chosen = scheme_for(forward, scheme)
    wanted = requests(forward, chosen, choices.get("ranking"))
    graph, updates = differentiate(with_loss(checked(forward)), wanted)
    _show(dump, "differentiate", graph)
    graph = sgd(graph, updates, choices.get("update", "8.8"), choices.get("seed", 0))
    graph = make_dynamic(graph, chosen.dynamic)
    _show(dump, "optimise", graph)
    return graph


def lowered(graph: Graph) -> Graph:
    """A training graph as a board runs it: the same values in less memory."""
    return with_scratch(as_planes(fuse(keep_parts(graph))))


def _show(dump: Dump | None, stage: str, graph: Graph) -> None:
    if dump:  # printing takes longer than the stage
        dump(stage, print_graph(graph))


def compile_model(
    forward: Graph,
    scheme: str,
    board: Board,
    dump: Dump | None = None,
    lay: Callable[[Graph, Plan, Board], Fit] = fit,
    **choices: Unpack[Choices],
) -> Compiled:
    """Quantised graph -> checked, planned C. UserError for a bad scheme, OutOfMemoryError if it does not fit.

    dump(stage, text) receives every stage: import, differentiate, optimise, calibrate, lower, plan, emit.
    lay: fit, or plan.fit.lay, which lets pass what does not fit.
    """
    graph = lowered(training_graph(forward, scheme, dump, **choices))
    _show(dump, "lower", graph)
    graph, placed = planned(graph)
    placed = check(graph, grown(graph, placed))
    space = lay(graph, placed, board)
    emitted = emit(graph, placed)
    if dump:
        dump("plan", describe(graph, placed, space))
        for name, text in emitted.files.items():
            dump(f"emit/{name}", text)
    return Compiled(forward, graph, placed, space, emitted.manifest, emitted)


def compile_job(
    model: str, scheme: str, board: Board, classes: int, seed: int = 0, update: Update = "8.8"
) -> Compiled:
    """The same for a model's name or file; its head is new where it has another number of classes."""
    return compile_model(models.load(model, classes, seed), scheme, board, update=update, seed=seed)


def generate(compiled: Compiled, board: str) -> Path:
    """Write the C where the build looks for it."""
    return write(compiled.emitted, paths.generated(board))


def trained_graph(compiled: Compiled, state: Mapping[str, Any]) -> Graph:
    """The forward graph with the weights that training left: what `export` saves."""
    found = whole(compiled.graph, state) | biases(compiled.graph, state)
    return compiled.forward.with_params({k: v for k, v in found.items() if k in compiled.forward.params})
