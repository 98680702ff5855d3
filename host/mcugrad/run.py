"""A job -> a run folder: compile, build, connect, train, fetch the weights back, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad import boards, build, config, pipeline, report
from mcugrad.boards import Board
from mcugrad.config import EMULATED, Job
from mcugrad.errors import InternalError, MismatchError, UserError
from mcugrad.frontend import store
from mcugrad.ir import DType
from mcugrad.ir.graph import Array
from mcugrad.link.identity import Expected
from mcugrad.link.ports import emulated
from mcugrad.link.session import Session
from mcugrad.pipeline import Compiled
from mcugrad.sources import Source, Split, open_source
from mcugrad.telemetry import Telemetry
from mcugrad.train import Tell, Trainer

JOB, TELEMETRY, WEIGHTS = "job.toml", "telemetry.sqlite", "weights.safetensors"


class StoppedError(UserError):
    """Ctrl-C in the middle of a run."""

    exit_code = 130


@dataclass(frozen=True)
class Prepared:
    """A job that is compiled and built: all that is needed to train."""

    job: Job
    board: Board
    compiled: Compiled
    elf: Path
    split: Split

    @property
    def port(self) -> str:
        """The port to open: the emulated board runs this very image."""
        port = self.job.board.port
        bare = port == EMULATED or port.rstrip("/") in ("emu:", f"emu://{self.board.id}")
        return emulated(self.board.id, self.elf) if bare else port

    @property
    def expected(self) -> Expected:
        m, fit = self.compiled.manifest, self.compiled.fit
        return Expected(
            self.board.id,
            m["model"],
            m["hash"],
            m["input"]["bytes"],
            m["state_bytes"],
            fit.arena,
            fit.statics,
        )


def train(job: Job, tell: Tell) -> Path:
    """Run a new job to its end; returns the run's folder."""
    ready = prepare(job, tell)
    with connected(ready, tell) as session:
        folder = _new_folder(job)
        log = Telemetry.create(folder / TELEMETRY, **_about(ready, session))
        return _finish(ready, session, log, folder, tell)


def resume(folder: Path, flags: Mapping[str, Any], tell: Tell) -> Path:
    """Go on with a run that was cut; it ends as if it had not been. Only the port may differ."""
    log = Telemetry.open(folder / TELEMETRY)
    if log.run["status"] == "done":
        raise UserError("this run is complete", str(folder), "start a new one without --resume")
    others = sorted(name for name, value in flags.items() if value is not None and name != "port")
    if others:
        fix = "leave them out; the run's own job.toml decides"
        raise UserError(f"--{', --'.join(others)} cannot change in a resumed run", "command line", fix)
    ready = prepare(config.load(folder / JOB, {"port": flags.get("port")}), tell)
    was, now = log.run["manifest"]["hash"], ready.compiled.manifest["hash"]
    if was != now:
        what = f"the model compiles to another one now: {now}, the run began with {was}"
        raise MismatchError(what, str(folder), "check out the version that the run began with")
    with connected(ready, tell) as session:
        return _finish(ready, session, log, folder, tell)


def prepare(job: Job, tell: Tell) -> Prepared:
    """Read the data, compile the model, build the image."""
    board, source = boards.load(job.board.id), open_source(job.data.source, job.data.seed)
    tell(_start(job, board, source))
    with stage("compile", tell) as say:
        compiled = pipeline.compile_job(
            job.model.name, job.model.scheme, board, len(source.classes), job.data.seed
        )
        m = compiled.manifest
        say(f"{len(m['nodes'])} nodes, {len(m['state'])} trained tensors")
    fit = compiled.fit
    tell(
        {
            "event": "memory",
            "static": fit.statics,
            "arena": fit.arena,
            "stack": fit.stack,
            "ram": board.ram_bytes,
        }
    )
    with stage("data", tell) as say:
        split = _some(source.split(tuple(m["input"]["shape"])), job)
        say(
            f"{len(split.train)} training and {len(split.test)} held-out images, {len(split.classes)} classes"
        )
    with stage("build", tell) as say:
        elf = build.build(board.id, pipeline.generate(compiled, board.id))
        say(f"{build.size(elf, board).flash / 1024:.1f} KB flash, {elf}")
    return Prepared(job, board, compiled, elf, split)


@contextmanager
def connected(ready: Prepared, tell: Tell) -> Iterator[Session]:
    """The session with the right board, closed at the end."""
    with stage("connect", tell) as say:
        session = Session.connect(ready.port, ready.board.baud, ready.expected, ready.elf)
        model = session.welcome["model_hash"].hex()
        say(f"{ready.board.name} at {session.port.split('?')[0]}, model {model[:12]}")
    try:
        yield session
    finally:
        session.close()


@contextmanager
def stage(name: str, tell: Tell) -> Iterator[Callable[[str], None]]:
    """Tells one line with the time it took; the block says what came out."""
    said: list[str] = []
    began = time.monotonic()
    yield said.append
    seconds = time.monotonic() - began
    tell({"event": "stage", "name": name, "text": f"{said[-1]}, {seconds:.1f} s", "seconds": seconds})


def state_tensors(manifest: Mapping[str, Any], state: bytes) -> dict[str, Array]:
    """The trained state's bytes -> its tensors by name."""
    if len(state) != manifest["state_bytes"]:
        raise InternalError(f"{len(state)} bytes of state, {manifest['state_bytes']} in the manifest")
    tensors = {}
    for name, dtype, shape, offset in manifest["state"]:
        count = int(np.prod(shape, dtype=np.int64))
        tensors[name] = np.frombuffer(state, DType(dtype).numpy, count, offset).reshape(shape)
    return tensors


def _finish(ready: Prepared, session: Session, log: Telemetry, folder: Path, tell: Tell) -> Path:
    trainer = Trainer(session, ready.split, ready.job.train, ready.job.data.seed, log, tell)
    with _kept(trainer, log, folder, tell):
        outcome = trainer.run()
    graph = pipeline.trained_graph(ready.compiled, state_tensors(ready.compiled.manifest, outcome.state))
    store.save(graph, folder / WEIGHTS)
    log.end("done")
    page, picture = report.write(log, folder)
    log.close()
    found = {"report": page, "picture": picture, "telemetry": folder / TELEMETRY, "weights": folder / WEIGHTS}
    paths = {name: str(path) for name, path in found.items()}
    tell({"event": "end", "before": outcome.before, "after": outcome.after, "run": str(folder), **paths})
    return folder


@contextmanager
def _kept(trainer: Trainer, log: Telemetry, folder: Path, tell: Tell) -> Iterator[None]:
    """Whatever cuts the run is told with what was saved and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        tell({"event": "failed"})
        trainer.save()
        raise StoppedError("stopped by hand", *_saved(trainer, log, folder, "stopped")) from None
    except UserError as error:
        tell({"event": "failed"})
        where, again = _saved(trainer, log, folder, "failed")
        error.args = (f"{error}\n  saved: {where}\n  again: {again}",)
        raise


def _saved(trainer: Trainer, log: Telemetry, folder: Path, status: str) -> tuple[str, str]:
    """What is kept of a run that was cut, and the command that goes on with it."""
    log.end(status)
    last = log.last_checkpoint()
    where = f"up to step {last.step if last else 0} of {trainer.total} in {folder}"
    return where, f"python host/train_on_board.py --resume {folder}"


def _start(job: Job, board: Board, source: Source) -> dict[str, Any]:
    about = {"model": job.model.name, "scheme": job.model.scheme, "data": job.data.source, "board": board.id}
    return {
        "event": "start",
        **about,
        "classes": list(source.classes),
        "port": job.board.port,
        "seed": job.data.seed,
    }


def _some(split: Split, job: Job) -> Split:
    data = job.data
    train, test = split.train.some(data.samples, data.seed), split.test.some(data.held_out, data.seed)
    return Split(train, test, split.classes)


def _about(ready: Prepared, session: Session) -> dict[str, Any]:
    board, split = ready.board, ready.split
    regions = [
        {"name": r.memory.name, "size": r.memory.size, "parts": dict(r.parts)}
        for r in ready.compiled.fit.regions
    ]
    about = {"id": board.id, "name": board.name, "cpu_hz": session.welcome["cpu_hz"], "port": session.port}
    about |= {"emulated": session.emulated, "train": len(split.train), "test": len(split.test)}
    return {
        "job": ready.job.model_dump(mode="json"),
        "manifest": ready.compiled.manifest,
        "board": about,
        "memory": regions,
    }


def _new_folder(job: Job) -> Path:
    """runs/<time>-<model>, with the job in it."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{Path(job.model.name).stem}"
    for suffix in ["", *(f"-{i}" for i in range(2, 1000))]:
        folder = job.run.out / (name + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        (folder / JOB).write_text(config.dump(job))
        return folder
    raise InternalError(f"no free name for a run in {job.run.out}")
