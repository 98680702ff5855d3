"""Figures of every night in SQLite: what the trend is drawn from."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil_tests.nightly import Night

_SCHEMA = """
CREATE TABLE IF NOT EXISTS nights (id INTEGER PRIMARY KEY, time REAL, revision TEXT, board TEXT, seconds REAL,
                                   passed INTEGER, failed INTEGER, skipped INTEGER);
CREATE TABLE IF NOT EXISTS figures (night INTEGER REFERENCES nights, job TEXT, what TEXT, value REAL,
                                    PRIMARY KEY (night, job, what));
"""
Point = tuple[float, str, float]  # time, revision, value


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, made if there is none."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(_SCHEMA)
        yield db


def flat(figures: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """(job, what, value) of what is one number."""
    for key, found in figures.items():
        job = key.split(" ", 1)[1]
        values = {"instructions": found["instructions"], "cycles": found["cycles"]}
        values |= {f"{name}_bytes": n for name, n in found["memory"].items()}
        values["last_loss"] = float(found["loss"][-1])
        yield from ((job, what, value) for what, value in values.items() if value is not None)


def add(db: sqlite3.Connection, revision: str, nights: list[Night]) -> None:
    """Keep one night."""
    now = time.time()
    with db:
        for n in nights:
            counts = tuple(n.count(outcome) for outcome in ("passed", "failed", "skipped"))
            row = (now, revision, n.board, n.seconds, *counts)
            made = db.execute("INSERT INTO nights VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", row).lastrowid
            rows = [(made, *figure) for figure in flat(n.figures)]
            db.executemany("INSERT INTO figures VALUES (?, ?, ?, ?)", rows)


def trends(db: sqlite3.Connection) -> dict[tuple[str, str], dict[str, list[Point]]]:
    """(job, what) -> board -> points, oldest first."""
    found: dict[tuple[str, str], dict[str, list[Point]]] = {}
    query = """SELECT job, what, board, time, revision, value FROM figures JOIN nights ON nights.id = night
               ORDER BY job, what, board, time"""
    for job, what, board, when, revision, value in db.execute(query):
        found.setdefault((job, what), {}).setdefault(board, []).append((when, revision, value))
    return found
