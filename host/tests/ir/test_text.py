"""A graph printed is a graph read; the verifier refuses what is not one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcugrad.errors import InternalError, UserError
from mcugrad.ir.text import parse_graph, print_graph
from mcugrad.ops.signature import checked
from mcugrad.pipeline import training_graph
from tests.networks import small


@pytest.mark.parametrize("scheme", ["head-only", "5 3:1/2 4:1/3 6:1"])
def test_round_trip(scheme: str) -> None:
    graph = training_graph(small(), scheme)
    text = print_graph(graph)
    again = parse_graph(text, {name: p.data for name, p in graph.params.items()})
    assert print_graph(checked(again)) == text
    assert all(graph.value(n).quant == again.value(n).quant for n in graph.values)


def test_parse_says_which_line() -> None:
    with pytest.raises(UserError, match="line 2"):
        parse_graph("graph g\n  nonsense here\n", {})


def test_parse_wants_the_matching_arrays() -> None:
    graph = small()
    arrays = {name: p.data for name, p in graph.params.items()}
    arrays["conv0.w"] = arrays["conv0.w"] + 1
    with pytest.raises(UserError, match=r"conv0\.w"):
        parse_graph(print_graph(graph), arrays)


def test_verifier_refuses() -> None:
    graph = small()
    nodes = graph.nodes
    for bad in (
        replace(graph, nodes=nodes[1:]),
        replace(graph, nodes=(nodes[0], *nodes)),
        replace(graph, nodes=(replace(nodes[0], attrs={**nodes[0].attrs, "stride": 1}), *nodes[1:])),
        replace(graph, nodes=(replace(nodes[0], ins=nodes[0].ins[:3]), *nodes[1:])),
        replace(graph, outputs={"logits": "nowhere"}),
    ):
        with pytest.raises(InternalError):
            checked(bad)
