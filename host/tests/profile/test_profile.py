"""A step's figures as rows, totals, differences and a page that loads nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mcugrad import bench, boards
from mcugrad.bench.step import measure_compiled
from mcugrad.cli import app
from mcugrad.errors import UserError
from mcugrad.ir import Graph
from mcugrad.pipeline import compile_model
from mcugrad.profile.page import page
from mcugrad.profile.record import Profile, changes, read, totals
from tests.networks import Net

pytest.importorskip("unicorn")
pytest.importorskip("sklearn")
BOARD = "nucleo_f746zg"


def network(size: int) -> Graph:
    net = Net((size, size, 3), 4).conv("conv0", 8, 3, 2).block("b0", 16, 8, 3).block("b1", 24, 8, 5, 2)
    return net.block("b2", 32, 12, 3, 2).block("b3", 64, 12, 3).head(4)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """A small network, begun by rows and trained by channel tiles, counted on the emulated board."""
    several = (compile_model(network(size), "6", boards.load(BOARD)) for size in (64, 48, 80, 96))
    compiled = next(c for c in several if c.plan.streams and c.plan.tiles)
    figures = measure_compiled(compiled, BOARD, tmp_path_factory.mktemp("profile"))
    return Profile(f"small 6 on {BOARD}", figures)


def other(profile: Profile, **factors: float) -> Profile:
    """The same with some operations cheaper or dearer; 0: without their nodes."""
    figures: dict[str, Any] = json.loads(json.dumps(profile.figures))
    figures["nodes"] = [n for n in figures["nodes"] if factors.get(n["op"], 1)]
    for n in figures["nodes"]:
        n["instructions"] = round(n["instructions"] * factors.get(n["op"], 1))
    return Profile("other", figures)


def test_every_instruction_has_a_row(small: Profile) -> None:
    rows = small.rows
    assert abs(sum(r.instructions for r in rows) - small.instructions) < 200  # the call and the return
    assert [r.node for r in rows if r.node is not None] == list(range(len(small.figures["nodes"])))
    for r in rows:
        assert r.instructions > 0 and r.cycles > 0 and r.calls > 0, r.layer
        assert r.node is None or r.kind.startswith(r.op)
    assert {"stream", "tiles"} == {r.op for r in rows if r.node is None}
    parted = [r for r in rows if r.calls > 1]
    assert {"conv2d", "depthwise_conv2d_dx", "clamp_dx", "sgd_bias"} <= {r.op for r in parted}
    assert all(0.5 < r.each < 20 for r in parted if r.each is not None)


def test_totals_add_up(small: Profile) -> None:
    for by in ("phase", "kind", "op"):
        found = totals(small.rows, by)
        assert sum(t.share for t in found) == pytest.approx(1)
        assert sum(t.cost for t in found) == sum(r.instructions for r in small.rows)
        assert sum(t.nodes for t in found) == len(small.rows)
    assert [t.name for t in totals(small.rows, "phase")] == ["forward", "backward", "update"]
    costs = [t.cost for t in totals(small.rows, "kind")]
    assert costs == sorted(costs, reverse=True)


def test_what_changed_comes_largest_first(small: Profile) -> None:
    assert changes(small.rows, small.rows) == []
    found = changes(other(small, conv2d=2, add=0).rows, small.rows)
    assert {c.row.op for c in found} == {"conv2d", "add"}
    assert [abs(c.delta) for c in found] == sorted((abs(c.delta) for c in found), reverse=True)
    for c in found:
        assert c.before is None if c.row.op == "add" else c.delta == -c.row.instructions
    gone = changes(small.rows, other(small, add=0).rows)
    assert gone and all(c.after is None and c.delta < 0 for c in gone)


def test_the_page_loads_nothing_from_elsewhere(small: Profile) -> None:
    alone, both = page(small), page(small, other(small, depthwise_conv2d=1.5, add=0))
    for text in (alone, both):
        assert not re.search(r"""(src|href)=|url\(|@import|https?://""", text)
        assert all(text.count(f"<td>{r.layer}</td>") for r in small.rows)
        assert f"{small.instructions:,}" in text
    assert "What changed" in both and "What changed" not in alone
    assert both == page(small, other(small, depthwise_conv2d=1.5, add=0))


def test_files_of_profile_and_bench_are_read(small: Profile, tmp_path: Path) -> None:
    one, many, bad = (tmp_path / name for name in ("one.json", "many.json", "bad.json"))
    one.write_text(small.text())
    many.write_text(json.dumps({"small 6": small.figures, "x": {}}))
    assert read(one, "any").rows == read(many, small.name).rows == small.rows
    assert read(one, "any").name == small.name
    for text in ("", "[]", "{}", json.dumps({"nodes": []})):
        bad.write_text(text)
        with pytest.raises(UserError, match=re.escape(str(bad))):
            read(bad, "any")
    with pytest.raises(UserError):
        read(many, "another")


def test_the_command_measures_saves_and_compares(small: Profile, tmp_path: Path) -> None:
    before, now, html = (tmp_path / name for name in ("before.json", "now.json", "page.html"))
    before.write_text(other(small, conv2d=2).text())
    now.write_text(small.text())
    files = ["--read", str(now), "--compare", str(before), "--html", str(html)]
    run = CliRunner().invoke(app, ["profile", *files])
    assert run.exit_code == 0, run.output
    lines = [line for line in run.output.splitlines() if "conv2d" in line]
    assert len(lines) == sum(r.op == "conv2d" for r in small.rows) and "-50.0%" in lines[0]
    assert "What changed" in html.read_text()
    run = CliRunner().invoke(app, ["profile", *files, "--json"])
    first = json.loads(run.stdout)["changes"][0]
    assert first["before"]["instructions"] == 2 * first["after"]["instructions"]
    case = bench.DEFAULT
    run = CliRunner().invoke(app, ["profile", "--model", case.model, "--scheme", case.scheme, "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["name"] == f"{case.key} on {BOARD}"
