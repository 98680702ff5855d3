"""The night's judgement: a kernel that got slower by one line is caught, and the node is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hil_tests import figures, page
from hil_tests.nightly import Case, Night, cases, metrics

from mcugrad.link.ports import open_port
from mcugrad.paths import ROOT
from tests.link.test_ports import PtyBoard

PARTS = ("boards", "firmware", "kernels", "host/mcugrad", "hil_tests", "host/tests/kernels")
LINE = "        const uint32_t x4 = mg_load32(x);\n"
SLOWER = LINE + '        __asm__ volatile("nop");\n'


def clone(folder: Path) -> Path:
    """The checkout without what was built."""
    for name in PARTS:
        ignore = shutil.ignore_patterns("__pycache__", "_platforms*")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("SConstruct", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def baselines(checkout: Path, what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "hil_tests/test_baselines.py", "-q", "-k", "digits", "-p",
               "no:cacheprovider", "--baselines", what]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(checkout / "host")}
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=300)


def test_one_slower_line_of_a_kernel_is_caught_and_its_node_named(tmp_path: Path) -> None:
    checkout = clone(tmp_path / "clone")
    assert baselines(checkout, "update").returncode == 0
    kernel = checkout / "kernels/pool.c"
    assert LINE in kernel.read_text()
    kernel.write_text(kernel.read_text().replace(LINE, SLOWER, 1))
    night = baselines(checkout, "compare")
    assert night.returncode == 1
    assert "pool avgpool forward: instructions" in night.stdout
    assert "loss curve" not in night.stdout


def measured() -> figures.Figures:
    nodes = {"  0 a conv2d forward": [1000, 900], "  1 b add forward": [50, 40]}
    memory = {"static": 1, "arena": 2, "stack": 3, "flash": 4}
    return {"loss": ["1.5", "1.25"], "instructions": 1050, "cycles": 940, "memory": memory, "nodes": nodes}


def test_differences_name_nodes_memory_and_the_first_step() -> None:
    now = measured()
    now["nodes"]["  0 a conv2d forward"], now["memory"]["arena"], now["loss"] = [1100, 900], 6, ["1.5", "1.0"]
    assert figures.differences(measured(), measured()) == []
    assert figures.differences(now, measured()) == [
        "node   0 a conv2d forward: instructions 1,000 -> 1,100 (+100, +10.00 %)",
        "arena: 2 -> 6 (+4, +200.00 %) bytes",
        "loss curve: differs from step 2 on, 1.25 -> 1.0",
    ]


def test_a_real_boards_cycles_may_vary_a_little() -> None:
    kept, now = measured(), measured()
    for figure in (kept, now):
        figure["instructions"] = None
        figure["nodes"] = {name: [None, v[1]] for name, v in figure["nodes"].items()}
    now["nodes"]["  0 a conv2d forward"][1] = 915
    assert figures.differences(now, kept) == []
    now["nodes"]["  0 a conv2d forward"][1] = 950
    assert figures.differences(now, kept)[0].startswith("node   0 a conv2d forward: cycles 900 -> 950")


def test_junit_and_metrics(tmp_path: Path) -> None:
    junit = tmp_path / "b.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase classname="c" name="good" time="0.5"/>'
        '<testcase classname="c" name="bad"><failure message="why"/></testcase></testsuite></testsuites>'
    )
    night = Night("b", 1, 2.0, "", [*cases(junit)], json.loads(json.dumps({"b job": measured()})))
    assert [(c.outcome, c.words) for c in night.cases] == [("passed", ""), ("failed", "why")]
    text = metrics([night])
    assert 'mcugrad_instructions{board="b",job="job"} 1050\n' in text and text.endswith("# EOF\n")


def suite(port: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "hil_tests", "-q", "-p", "no:cacheprovider", "--port", port]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "host")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout


def test_the_suite_without_its_board_says_why_in_one_line() -> None:
    """Absent, busy, another firmware."""
    code, words = suite("/dev/ttyNOPE")
    assert code == 4 and words.count("there is no port /dev/ttyNOPE") == 1
    board = PtyBoard()
    held = open_port(board.path, 921600)
    code, words = suite(board.path)
    held.close()
    assert code == 4 and words.count("is in use by another program") == 1
    code, words = suite(board.path)
    board.unplug()
    assert code == 5 and words.count("the firmware on the board is another model") == 1


def test_the_page_says_what_drifted_and_by_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "BASELINES", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "toy.json").write_text(figures.text(measured()))
    now = measured()
    now["nodes"]["  0 a conv2d forward"], now["instructions"] = [1100, 900], 1150
    night = Night("mine", 1, 2.0, "", [Case("hil_tests.test_link::test_a_b[board0]", 0.5, "passed")])
    night.figures = {"mine toy": now}
    html = page.render("abc", [night], {("toy", "cycles"): {"mine": [(0.0, "abc", 940.0)]}})
    assert "node   0 a conv2d forward: instructions 1,000 -&gt; 1,100 (+100, +10.00 %)" in html
    assert "1,150</td>" in html and "+100</td>" in html
    assert "link: a b [board0]" in html and "toy: cycles" in html
    night.figures = {"mine toy": measured()}
    assert "Drifted" not in page.render("abc", [night], {})
