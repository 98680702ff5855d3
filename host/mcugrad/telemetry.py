"""Every step of a run -> one row of SQLite (WAL): a killed run loses at most the step under way."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcugrad.errors import UserError

FORMAT = 1
STEP_COLUMNS = (
    "step", "time", "epoch", "sample", "label", "predicted", "loss", "lr", "latency_s", "cycles_forward",
    "cycles_total", "stack_high", "static_bytes", "arena_bytes", "saturated", "board_crc_errors", "overruns",
    "host_crc_errors", "resyncs", "retries", "bytes_sent", "bytes_received",
)  # fmt: skip
LINK_COLUMNS = ("step", "sample_bytes", "sample_seconds")  # since the session began
_SCHEMA = f"""
CREATE TABLE runs (id INTEGER PRIMARY KEY, started REAL, ended REAL, status TEXT, job TEXT, manifest TEXT,
                   board TEXT, memory TEXT);
CREATE TABLE steps ({", ".join(STEP_COLUMNS)}, PRIMARY KEY (step)) WITHOUT ROWID;
CREATE TABLE evals (step INTEGER PRIMARY KEY, time REAL, accuracy REAL, loss REAL, samples INTEGER,
                    predicted TEXT);
CREATE TABLE nodes (node INTEGER PRIMARY KEY, op TEXT, layer TEXT, phase TEXT, shape TEXT, macs INTEGER,
                    cycles INTEGER, instructions INTEGER);
CREATE TABLE checkpoints (step INTEGER PRIMARY KEY, time REAL, state BLOB);
PRAGMA user_version = {FORMAT};
"""
_LATER = """
CREATE TABLE IF NOT EXISTS link (step INTEGER PRIMARY KEY, sample_bytes INTEGER, sample_seconds REAL);
"""
_PROOF = 20  # steps that tell how good a state is: the update just before it may have spoilt it
_PROVED = f"""
SELECT step, state, (SELECT AVG(steps.loss) FROM steps
                     WHERE steps.step > c.step AND steps.step <= c.step + {_PROOF}) AS following
FROM checkpoints c WHERE step + {_PROOF} <= (SELECT MAX(step) FROM steps)
ORDER BY following, step DESC LIMIT 1
"""
_JSON = ("job", "manifest", "board", "memory")

Row = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """The trained state after `step` steps."""

    step: int
    state: bytes


class Telemetry:
    """One run's database. Every method is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(path)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")

    @classmethod
    def create(cls, path: Path, **run: Any) -> Telemetry:
        """A new database; `run` gives job, manifest, board and memory, kept as JSON."""
        new = cls(path)
        new._db.executescript(_SCHEMA + _LATER)
        new._insert(
            "runs",
            {"started": time.time(), "status": "running", **{k: json.dumps(run.get(k, {})) for k in _JSON}},
        )
        return new

    @classmethod
    def open(cls, path: Path) -> Telemetry:
        """The database of an earlier run; UserError if there is none or another version wrote it."""
        if not path.is_file():
            raise UserError(
                "no run is recorded here", str(path), "give the folder of a run: runs/<time>-<model>"
            )
        try:
            old = cls(path)
            version = old._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise UserError(f"the telemetry is damaged ({error})", str(path), "start a new run") from None
        if version != FORMAT:
            what = f"telemetry of format {version}, this version reads {FORMAT}"
            raise UserError(what, str(path), "use the mcugrad version that made it")
        old._db.executescript(_LATER)
        return old

    @property
    def run(self) -> Row:
        """The one row of `runs`, its JSON columns decoded."""
        row = dict(self._db.execute("SELECT * FROM runs").fetchone())
        return {k: json.loads(v) if k in _JSON else v for k, v in row.items()}

    def step(self, row: Mapping[str, Any]) -> None:
        """Record one training step; a step that is done again after a resume replaces its row."""
        with self._db:
            self._put("steps", {name: row[name] for name in STEP_COLUMNS})
            self._put("link", {name: row[name] for name in LINK_COLUMNS})

    def evaluation(self, step: int, accuracy: float, loss: float, predicted: list[int]) -> None:
        row = {
            "step": step,
            "time": time.time(),
            "accuracy": accuracy,
            "loss": loss,
            "samples": len(predicted),
        }
        self._insert("evals", {**row, "predicted": json.dumps(predicted)})

    def checkpoint(self, step: int, state: bytes) -> None:
        """Keep a copy of the trained state; those that neither `last_` nor `good_checkpoint` can give go."""
        with self._db:
            row = (step, time.time(), state)
            self._db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", row)
            stale = f"step + {_PROOF} <= ? AND step != (SELECT step FROM ({_PROVED}))"
            self._db.execute(f"DELETE FROM checkpoints WHERE {stale}", (step,))

    def last_checkpoint(self) -> Checkpoint | None:
        return self._checkpoint("SELECT step, state FROM checkpoints ORDER BY step DESC LIMIT 1")

    def good_checkpoint(self) -> Checkpoint | None:
        """The state with the lowest mean loss in the steps that followed; the oldest while none has many."""
        return self._checkpoint(_PROVED) or self._checkpoint(
            "SELECT step, state FROM checkpoints ORDER BY step LIMIT 1"
        )

    def _checkpoint(self, query: str) -> Checkpoint | None:
        row = self._db.execute(query).fetchone()
        return Checkpoint(row["step"], row["state"]) if row else None

    def nodes(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Record what each node of the step function costs."""
        for row in rows:
            self._insert("nodes", row)

    def end(self, status: str) -> None:
        """`status`: done, or why not."""
        with self._db:
            self._db.execute("UPDATE runs SET ended = ?, status = ?", (time.time(), status))

    def table(self, name: str) -> list[Row]:
        """All rows of steps, link, evals or nodes, in order."""
        return [dict(row) for row in self._db.execute(f"SELECT * FROM {name} ORDER BY 1")]

    def close(self) -> None:
        self._db.close()

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        with self._db:
            self._put(table, row)

    def _put(self, table: str, row: Mapping[str, Any]) -> None:
        marks = ", ".join("?" * len(row))
        self._db.execute(
            f"INSERT OR REPLACE INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
        )
