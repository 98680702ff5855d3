"""A job -> everything that training needs: the data, the compiled model, the image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mcugrad import boards, build, pipeline
from mcugrad.boards import Board
from mcugrad.config import EMULATED, Job
from mcugrad.errors import UserError
from mcugrad.frontend import models
from mcugrad.ir import Graph
from mcugrad.link.identity import Expected
from mcugrad.link.ports import emulated
from mcugrad.passes.fisher import fisher
from mcugrad.passes.schemes import INFERENCE, Ranking, scheme_for
from mcugrad.pipeline import Choices, Compiled
from mcugrad.sources import Source, Split, of_job
from mcugrad.train import Tell

FISHER_SAMPLES = 16  # drawn by the seed from the training images


@dataclass(frozen=True)
class Prepared:
    """A job that is compiled and built."""

    job: Job
    board: Board
    compiled: Compiled
    elf: Path
    split: Split
    recording: Split | None = None  # all samples as they came, where the run is to keep them

    @property
    def port(self) -> str:
        """The port to open; an emulated board runs this very image."""
        port, twin = self.job.board.port, f"emu://{self.board.id}"
        return emulated(self.board.id, self.elf) if port in (EMULATED, "emu://", twin) else port

    @property
    def expected(self) -> Expected:
        """What the firmware must say of itself."""
        return Expected.of(self.board.id, self.compiled.manifest, self.compiled.fit.statics)


def prepare(job: Job, tell: Tell) -> Prepared:
    """Read the data, compile the model, build the image; each stage is told."""
    if job.model.scheme == INFERENCE:
        fix = "name one that trains, such as head-only; build and plan take this one"
        raise UserError(f"the scheme '{INFERENCE}' trains nothing", "--scheme", fix)
    board = boards.load(job.board.id)
    tell({"event": "start", **_about(job)})
    with stage("data", tell) as say:
        source = of_job(job)
        say(f"{source.name}, {len(source.classes)} classes")
    tell({"event": "classes", "names": list(source.classes)})
    compiled = _compile(job, board, source, tell)
    with stage("images", tell) as say:
        split = _split(source, compiled, job)
        say(f"{len(split.train)} to learn from, {len(split.test)} held out")
    with stage("build", tell) as say:
        elf = build.build(board.id, pipeline.generate(compiled, board.id))
        say(f"{build.size(elf, board).flash / 1024:.1f} KB flash, {elf}")
    keep = source.raw if source.live or job.run.record else None
    return Prepared(job, board, compiled, elf, split, keep)


def _about(job: Job) -> dict[str, str | int]:
    about = {"model": job.model.name, "scheme": job.model.scheme, "data": job.data.source}
    return {**about, "board": job.board.id, "port": job.board.port, "seed": job.data.seed}


def compile_for(job: Job, source: Source, board: Board, dump: pipeline.Dump | None = None) -> Compiled:
    """The job's model for the source's classes, its channels chosen as the job says."""
    forward = models.load(job.model.name, len(source.classes), job.data.seed)
    scheme, choices = job.model.scheme, choices_of(job)
    choices["ranking"] = ranking(forward, scheme, job, source)
    return pipeline.compile_model(forward, scheme, board, dump, **choices)


def choices_of(job: Job) -> Choices:
    """What the job says of the training step, but for the ranking."""
    return {"update": job.train.update, "seed": job.data.seed}


def ranking(forward: Graph, scheme: str, job: Job, source: Source) -> Ranking | None:
    """What decides the channels of partly trained layers; None for their norm."""
    if job.model.channels == "l2":
        return None
    height, width, channels = forward.inputs[0].shape
    train = source.split((height, width, channels)).train
    return fisher(forward, scheme_for(forward, scheme), train.some(FISHER_SAMPLES, job.data.seed))


def _compile(job: Job, board: Board, source: Source, tell: Tell) -> Compiled:
    with stage("compile", tell) as say:
        compiled = compile_for(job, source, board)
        nodes, tensors = (len(compiled.manifest[key]) for key in ("nodes", "state"))
        say(f"{nodes} nodes, {tensors} tensors trained")
    fit = compiled.fit
    sizes = {"static": fit.statics, "arena": fit.arena, "stack": fit.stack, "ram": board.ram_bytes}
    tell({"event": "memory", **sizes, "regions": fit.memory})
    return compiled


def _split(source: Source, compiled: Compiled, job: Job) -> Split:
    height, width, channels = compiled.manifest["input"]["shape"]
    data = job.data
    return source.split((height, width, channels)).some(data.samples, data.held_out, data.seed)


@contextmanager
def stage(name: str, tell: Tell) -> Iterator[Callable[[str], None]]:
    """Tells one line with the time it took; the block says what came out."""
    said: list[str] = []
    began = time.monotonic()
    yield said.append
    seconds = time.monotonic() - began
    tell({"event": "stage", "name": name, "text": f"{said[-1]}, {seconds:.1f} s", "seconds": seconds})
