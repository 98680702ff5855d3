"""`python -m hil_tests.nightly`: the suite on each board, against the baselines; a page, metrics, a trend.

Leaves in build/hil/nightly: <board>.xml (JUnit), metrics.txt (OpenMetrics), report.html. Logs of the boards:
build/hil/<board>/*.log. history.sqlite there keeps every night.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil_tests import history, page
from mcugrad import paths

BOARDS = ["nucleo_f746zg", "nucleo_h743zi"]
OUT = paths.BUILD / "hil" / "nightly"


@dataclass(frozen=True)
class Case:
    """One test of a JUnit file. `words`: why it failed or was skipped."""

    name: str
    seconds: float
    outcome: str
    words: str = ""


@dataclass
class Night:
    """What one board did."""

    board: str
    code: int
    seconds: float
    output: str
    cases: list[Case] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def count(self, outcome: str) -> int:
        return sum(case.outcome == outcome for case in self.cases)

    @property
    def ok(self) -> bool:
        return self.code == 0


def run(board: str, options: list[str]) -> Night:
    """One board's suite in a process of its own."""
    junit, figures = OUT / f"{board}.xml", OUT / f"{board}.json"
    for old in (junit, figures):
        old.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "hil_tests", "-q", "--board", board, f"--junitxml={junit}"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, f"--figures={figures}", *options], cwd=paths.ROOT, text=True, stdout=subprocess.PIPE
    )
    sys.stdout.write(done.stdout)
    night = Night(board, done.returncode, time.monotonic() - began, done.stdout)
    night.cases = [*cases(junit)] if junit.exists() else []
    night.figures = json.loads(figures.read_text()) if figures.exists() else {}
    return night


def cases(junit: Path) -> Iterator[Case]:
    """The tests of a JUnit file, in order."""
    for case in ET.parse(junit).iter("testcase"):
        name, seconds = f"{case.get('classname')}::{case.get('name')}", float(case.get("time", 0))
        bad = next((e for e in case if e.tag in ("failure", "error", "skipped")), None)
        if bad is None:
            yield Case(name, seconds, "passed")
        else:
            outcome = "skipped" if bad.tag == "skipped" else "failed"
            yield Case(name, seconds, outcome, bad.get("message") or bad.text or "")


def metrics(nights: list[Night]) -> str:
    """OpenMetrics text."""
    rows: dict[str, list[str]] = {}
    for night in nights:
        for outcome in ("passed", "failed", "skipped"):
            label = f'{{board="{night.board}",outcome="{outcome}"}}'
            rows.setdefault("mcugrad_hil_tests", []).append(f"{label} {night.count(outcome)}")
        rows.setdefault("mcugrad_hil_seconds", []).append(f'{{board="{night.board}"}} {night.seconds:.1f}')
        for job, what, value in history.flat(night.figures):
            label = f'{{board="{night.board}",job="{job}"}}'
            rows.setdefault(f"mcugrad_{what}", []).append(f"{label} {value}")
    lines = []
    for name, values in rows.items():
        lines += [f"# TYPE {name} gauge", *(name + value for value in values)]
    return "\n".join([*lines, "# EOF", ""])


def revision() -> str:
    """The commit under test, with a + where the checkout differs from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=paths.ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def main() -> int:
    """0: every board passed. Other options go to pytest: --port, --count, --upload, -k."""
    parser = argparse.ArgumentParser(prog="python -m hil_tests.nightly", description=__doc__)
    parser.add_argument("--boards", default=",".join(BOARDS), help="board ids with commas between")
    parser.add_argument("--baselines", choices=("compare", "update"), default="compare")
    options, rest = parser.parse_known_args()
    OUT.mkdir(parents=True, exist_ok=True)
    nights = [
        run(b, [f"--baselines={options.baselines}", "--long", *rest]) for b in options.boards.split(",")
    ]
    with history.opened(OUT.parent / "history.sqlite") as db:
        history.add(db, revision(), nights)
        (OUT / "report.html").write_text(page.render(revision(), nights, history.trends(db)))
    (OUT / "metrics.txt").write_text(metrics(nights))
    for night in nights:
        words = ", ".join(f"{night.count(o)} {o}" for o in ("passed", "failed", "skipped"))
        print(f"{'✓' if night.ok else '✗'} {night.board}: {words}, {night.seconds:.0f} s")
    print(f"  {OUT / 'report.html'}")
    return 0 if all(night.ok for night in nights) else 1


if __name__ == "__main__":
    raise SystemExit(main())
