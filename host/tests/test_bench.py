"""Instructions, RAM and flash of one step against the stored baselines: deterministic, so a rise is real."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from mcugrad import baselines, bench, boards, ops
from mcugrad.bench import Case
from mcugrad.bench.parts import attributed
from mcugrad.errors import InternalError
from mcugrad.passes.schemes import INFERENCE
from mcugrad.pipeline import compile_model, lowered, uncalibrated
from mcugrad.plan import cuts
from mcugrad.plan.front import leading
from mcugrad.plan.memory import place
from mcugrad.plan.rows import streamable
from mcugrad.plan.stream import FEED, stream
from tests.networks import Net, wide_front

BOARD = "nucleo_f746zg"


@pytest.mark.parametrize("case", [c for c in bench.CASES if not c.extra], ids=lambda case: case.key)
def test_no_figure_rises(case: Case, tmp_path: Path) -> None:
    if not case.present():
        pytest.skip(f"{case.model} is not here: set MCUGRAD_DATA")
    figures = bench.measure(case, BOARD, tmp_path)
    assert not bench.rises({case.key: figures})
    nodes = sum(n["instructions"] for n in (*figures["nodes"], *figures["parts"]))
    total = figures["instructions"]["total"]
    assert abs(total - nodes) < 200  # the call and the return


def test_what_a_stream_costs_goes_to_its_nodes() -> None:
    """A call costs what its node's number says; neither nested calls nor those of other nodes count."""
    graph = lowered(uncalibrated(wide_front(), INFERENCE))
    last = [streamable(graph, node) for node in graph.nodes].index(False) - 1
    fed = stream(graph, graph.nodes, 0, last)
    placed = place(graph, graph.nodes, (fed,))
    steps = [step.node for step in fed.steps if step.node != FEED]
    calls, kernel = [], [ops.get(node.op).kernel for node in placed.order]
    for at, i in enumerate(steps):
        calls.append({"at": 1000 * at + 1, "instructions": 1, "cycles": 1, "symbol": kernel[i]})
        calls.append({"at": 1000 * at, "instructions": 100 + i, "cycles": 10 + i, "symbol": kernel[i]})
    end = 1000 * len(steps)
    calls.append({"at": end + 1, "instructions": 5, "cycles": 5, "symbol": kernel[0]})
    marks = [(end, end)] * (len(placed.order) + 1)
    nodes = [{"phase": "forward", "instructions": 0, "cycles_estimated": 0} for _ in placed.order]
    nodes[0] |= {"instructions": 10**6, "cycles_estimated": 10**5}
    found, (rest,) = attributed(graph, placed, nodes, marks, calls)
    for i in range(fed.first, fed.last + 1):
        assert found[i]["calls"] == steps.count(i)
        assert found[i]["instructions"] == steps.count(i) * (100 + i)
        assert found[i]["cycles_estimated"] == steps.count(i) * (10 + i)
    assert rest["instructions"] == 10**6 - sum(100 + i for i in steps)
    assert found[fed.last + 1 :] == nodes[fed.last + 1 :]
    with pytest.raises(InternalError, match="calls"):
        attributed(graph, placed, nodes, marks, calls[2:])


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_what_streams_add_is_as_the_planner_expects(
    kernel: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the same step with every map whole and all scratch that saves instructions."""
    monkeypatch.setattr(cuts, "MOST", inf)
    net = (
        Net((96, 96, 3), 1).conv("conv0", 16, 3, 2).block("b0", 32, 16, kernel, 2).block("b1", 64, 16, kernel)
    )
    compiled = compile_model(net.block("b2", 48, 24, kernel, 2).head(4), "head-only", boards.load(BOARD))
    assert compiled.plan.streams
    builds = {"rows": compiled, "whole": bench.whole(compiled)}
    found = {name: bench.measure_compiled(c, BOARD, tmp_path / name) for name, c in builds.items()}
    added = found["rows"]["instructions"]["forward"] - found["whole"]["instructions"]["forward"]
    planned = compiled.plan
    costs = cuts.Cuts(compiled.graph, planned.order, leading(compiled.graph, planned.order), [])
    price = costs.price(planned.streams, planned.words)
    assert added > 0 and abs(price / added - 1) < 0.1


def test_a_rise_is_found() -> None:
    base = baselines.load(bench.BASELINES)
    key = bench.DEFAULT.key
    assert key in base
    worse = {
        k: {n: round(v * 1.02) for n, v in group.items()} if isinstance(group, dict) else group
        for k, group in base[key].items()
    }
    assert len(bench.rises({key: worse})) >= 8
    assert not bench.rises({key: base[key]})
