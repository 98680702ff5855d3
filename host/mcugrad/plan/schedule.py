"""Node order: dependencies from program order, updates as early as may be, several orders to choose from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from mcugrad import ops
from mcugrad.ir import Graph, Node

Order = tuple[Node, ...]
Rank = Callable[[int], tuple[int, ...]]


def dependencies(graph: Graph) -> list[set[int]]:
    """For each node, the earlier nodes that must have run: data, and every pair of accesses to one trained
    param of which at least one writes, in program order."""
    producer: dict[str, int] = {}
    readers: dict[str, list[int]] = defaultdict(list)
    before: list[set[int]] = []
    for i, node in enumerate(graph.nodes):
        written = writes(node)
        needs = {producer[n] for n in node.ins if n in producer}
        for name in written:
            needs |= set(readers[name])
        before.append(needs - {i})
        for name in node.ins:
            readers[name].append(i)
        for name in (*node.outs, *written):
            producer[name] = i
    return before


def writes(node: Node) -> tuple[str, ...]:
    """Params that the node changes."""
    op = ops.get(node.op)
    return tuple(n for n, a in zip(node.ins, op.ins, strict=False) if a.name in op.inout)


def orders(graph: Graph) -> list[Order]:
    """Candidate orders; all run the forward nodes first, in program order."""
    forward = sum(ops.get(n.op).phase == "forward" for n in graph.nodes)
    before = dependencies(graph)
    saves = [_net_bytes(graph, n) for n in graph.nodes]
    update = [ops.get(n.op).phase == "update" for n in graph.nodes]
    ranks: list[Rank] = [
        lambda i: (not update[i], i),
        lambda i: (not update[i], saves[i], i),
        lambda i: (not update[i], -i),
    ]
    return [_list_schedule(graph, before, forward, rank) for rank in ranks]


def _net_bytes(graph: Graph, node: Node) -> int:
    made = sum(graph.value(n).nbytes for n in node.outs)
    return made - sum(graph.value(n).nbytes for n in node.ins if n not in graph.params)


def _list_schedule(graph: Graph, before: Sequence[set[int]], forward: int, rank: Rank) -> Order:
    done, order = set(range(forward)), list(range(forward))
    waiting = set(range(forward, len(graph.nodes)))
    while waiting:
        ready = [i for i in waiting if before[i] <= done]
        chosen = min(ready, key=rank)
        order.append(chosen)
        done.add(chosen)
        waiting.remove(chosen)
    return tuple(graph.nodes[i] for i in order)
