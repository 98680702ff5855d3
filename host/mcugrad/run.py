"""A job -> a run's folder: train on the board, fetch the weights back, report. A run that was cut goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcugrad import config, pipeline, report
from mcugrad.codegen.params import state_tensors
from mcugrad.config import Job
from mcugrad.errors import DivergedError, InternalError, LinkError, MismatchError, UserError
from mcugrad.frontend import store
from mcugrad.link.session import Session
from mcugrad.prepare import Prepared, prepare, stage
from mcugrad.sources.replay import JOB, SAMPLES, record
from mcugrad.telemetry import Telemetry
from mcugrad.train import Outcome, Tell, Trainer

TELEMETRY = "telemetry.sqlite"
WEIGHTS, LAST_GOOD = "weights.safetensors", "last_good.safetensors"
DIVERGED = "diverged"


class StoppedError(UserError):
    """Ctrl-C in the middle of a run."""

    exit_code = 130


def train(job: Job, tell: Tell) -> Path:
    """Run a new job to its end; returns the run's folder."""
    return _begin(prepare(job, tell), tell)


def _begin(ready: Prepared, tell: Tell) -> Path:
    with connected(ready, tell) as session:
        folder = _new_folder(ready.job)
        if ready.recording:
            record(ready.recording, folder)
        log = Telemetry.create(folder / TELEMETRY, **_about(ready, session))
        return _train(ready, session, log, folder, tell)


def resume(folder: Path, flags: Mapping[str, Any], tell: Tell) -> Path:
    """Go on with a run that was cut; it ends as if it had not been. Only the port may differ."""
    log = Telemetry.open(folder / TELEMETRY)
    _check_resumable(log, folder, flags)
    recorded = f"replay:{folder}" if (folder / SAMPLES).is_file() else None
    ready = prepare(config.load(folder / JOB, {"port": flags.get("port"), "data": recorded}), tell)
    _check_same(log, folder, ready)
    with connected(ready, tell) as session:
        return _train(ready, session, log, folder, tell)


def replay(folder: Path, port: str | None, tell: Tell) -> Path:
    """Do a run again from its job and samples, in a folder of its own; MismatchError if a bit differs."""
    log = Telemetry.open(folder / TELEMETRY)
    ready = prepare(config.load(folder / JOB, {"port": port, "data": f"replay:{folder}"}), tell)
    _check_same(log, folder, ready)
    again = _begin(ready, tell)
    told = _compared(log, Telemetry.open(again / TELEMETRY), folder)
    tell({"event": "replayed", "of": str(folder), **told})
    return again


def _compared(was: Telemetry, now: Telemetry, folder: Path) -> dict[str, int]:
    """Steps and bytes of state that are equal."""
    told = ("step", "epoch", "sample", "label", "predicted", "loss", "lr", "saturated")
    for old, new in zip(was.table("steps"), now.table("steps"), strict=False):
        if differing := [name for name in told if old[name] != new[name]]:
            name = differing[0]
            what = f"step {old['step']} differs: {name} was {old[name]}, is {new[name]}"
            raise MismatchError(what, str(folder), "replay with the version and the source of that run")
    last, end = was.last_checkpoint(), now.last_checkpoint()
    same = last and end and last.step == end.step
    if same and last and end and last.state != end.state:
        raise MismatchError(f"the weights after step {last.step} differ", str(folder), "report it")
    return {"steps": len(was.table("steps")), "state_bytes": len(last.state) if same and last else 0}


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


def _train(ready: Prepared, session: Session, log: Telemetry, folder: Path, tell: Tell) -> Path:
    trainer = Trainer(session, ready.split, ready.job.train, ready.job.data.seed, log, tell)
    with _kept(trainer, ready, log, folder, tell):
        outcome = trainer.run()
    _save(ready, outcome.state, folder / WEIGHTS)
    log.end("done")
    _report(log, folder, outcome, tell)
    return folder


def _report(log: Telemetry, folder: Path, outcome: Outcome, tell: Tell) -> None:
    page, picture = report.write(log, folder)
    log.close()
    found = {"report": page, "picture": picture, "telemetry": folder / TELEMETRY, "weights": folder / WEIGHTS}
    paths = {name: str(path) for name, path in found.items()}
    tell({"event": "end", "before": outcome.before, "after": outcome.after, "run": str(folder), **paths})


def _save(ready: Prepared, state: bytes, path: Path) -> None:
    tensors = state_tensors(state, ready.compiled.manifest)
    store.save(pipeline.trained_graph(ready.compiled, tensors), path)


@contextmanager
def _kept(trainer: Trainer, ready: Prepared, log: Telemetry, folder: Path, tell: Tell) -> Iterator[None]:
    """Whatever cuts the run is told with what was saved and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        tell({"event": "failed"})
        trainer.save()
        raise StoppedError("stopped by hand", *_saved(trainer, log, folder, "stopped")) from None
    except DivergedError as error:
        tell({"event": "failed"})
        log.end(DIVERGED)
        error.args = (f"{error}\n  kept:  {_good_weights(ready, log, folder)}",)
        raise
    except UserError as error:
        tell({"event": "failed"})
        where, again = _saved(trainer, log, folder, "failed")
        # What the line or the board did may be over; what the job did would happen again.
        again = f"\n  again: {again}" if isinstance(error, LinkError) else ""
        error.args = (f"{error}\n  saved: {where}{again}",)
        raise


def _good_weights(ready: Prepared, log: Telemetry, folder: Path) -> str:
    """Save the weights from before a divergence; says which."""
    good = log.good_checkpoint()
    assert good
    _save(ready, good.state, folder / LAST_GOOD)
    return f"the last good weights, after step {good.step}, in {folder / LAST_GOOD}"


def _saved(trainer: Trainer, log: Telemetry, folder: Path, status: str) -> tuple[str, str]:
    """What is kept of a run that was cut, and the command that goes on with it."""
    log.end(status)
    last = log.last_checkpoint()
    where = f"up to step {last.step if last else 0} of {trainer.total} in {folder}"
    return where, f"python host/train_on_board.py --resume {folder}"


def _check_resumable(log: Telemetry, folder: Path, flags: Mapping[str, Any]) -> None:
    if log.run["status"] == "done":
        raise UserError("this run is complete", str(folder), "start a new one without --resume")
    if log.run["status"] == DIVERGED:
        fix = f"start a new one with a lower --lr, perhaps from --model {folder / LAST_GOOD}"
        raise UserError("this run diverged; it would do so again", str(folder), fix)
    others = sorted(name for name, value in flags.items() if value is not None and name != "port")
    if others:
        fix = "leave them out; the run's own job.toml decides"
        raise UserError(f"--{', --'.join(others)} cannot change in a resumed run", "command line", fix)


def _check_same(log: Telemetry, folder: Path, ready: Prepared) -> None:
    was, now = log.run["manifest"]["hash"], ready.compiled.manifest["hash"]
    if was != now:
        what = f"the model compiles to another one now: {now}, the run began with {was}"
        raise UserError(what, str(folder), "check out the version that the run began with")
    if log.run["board"]["data_crc"] != ready.split.crc:
        what = "the images are not those that the run began with"
        raise UserError(what, ready.job.data.source, "put them back, or start a new run")


def _about(ready: Prepared, session: Session) -> dict[str, Any]:
    """What the database keeps of a run beside its steps."""
    board, split = ready.board, ready.split
    about = {"id": board.id, "name": board.name, "cpu_hz": session.welcome["cpu_hz"], "port": session.port}
    about["baud"] = board.baud
    about |= {"emulated": session.emulated, "data_crc": ready.split.crc}
    about |= {"train": len(split.train), "test": len(split.test), "classes": split.classes}
    about["test_labels"] = split.test.labels.tolist()
    job = ready.job.model_dump(mode="json")
    about_model = {"manifest": dict(ready.compiled.manifest), "memory": ready.compiled.fit.memory}
    return {"job": job, "board": about, **about_model}


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
