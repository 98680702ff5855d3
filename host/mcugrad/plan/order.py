"""The order that needs the fewest live bytes: best-first search over sets of finished nodes, with a proof."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mcugrad import ops
from mcugrad.ir import Graph, Node
from mcugrad.ops.op import shared
from mcugrad.plan.arena import in_arena, rounded
from mcugrad.plan.schedule import Order, dependencies

STATES = 8000  # at most; some seconds
CHAINS = {1: 600, 8: STATES}  # nodes that are run at once, in that many states; short ones pack better


@dataclass(frozen=True)
class Found:
    """`floor`: every order that runs the forward nodes first needs so many live bytes behind the front.
    `order`: one that needs no more, or None where the search gave up before it found one."""

    floor: int
    order: Order | None


@dataclass(frozen=True)
class _State:
    """Nodes that have run, as bits; bytes alive between nodes; those that can run next, in program order."""

    done: int
    live: int
    ready: tuple[int, ...]
    last: _Link | None


@dataclass(frozen=True)
class _Link:
    """The nodes that led to a state, newest first."""

    node: int
    before: _Link | None


def least(graph: Graph, front: int, held: Mapping[str, int]) -> int:
    """Live bytes that are needed behind the front in every order that runs the forward nodes first: by one of
    these, or by one node alone. held: the bytes of values that need not exist whole."""
    return _Table(graph, 1, front, held).start()[1]


def search(graph: Graph, enough: int, front: int = 0, states: int = STATES) -> Found:
    """The least live bytes of all orders.

    enough: live bytes of an order that is known already; the search ends where it has proved that none needs
    less. front: so many nodes at the start, which can be streamed, count nothing.
    """
    found = Found(0, None)
    for chain, most in CHAINS.items():
        found = _search(_Table(graph, chain, front), enough, min(states, most))
        if found.order or found.floor >= enough:
            break
    return found


def _search(table: _Table, enough: int, states: int) -> Found:
    state, floor = table.start()
    heap = [(floor, 0, 0, 0, state)]
    seen: set[int] = set()
    for count in range(1, states):
        floor, *_, state = heapq.heappop(heap)
        if floor >= enough:
            return Found(floor, None)
        state = table.run_free(state, floor)
        if not state.ready:
            return Found(floor, table.order(state))
        if state.done in seen:
            continue
        seen.add(state.done)
        # Deepest first, and in program order: an order is found as soon as one is as good as the floor.
        for i in state.ready:
            depth = -state.done.bit_count()
            needs = max(floor, table.peak(state, i))
            heapq.heappush(heap, (needs, depth, count, i, table.run(state, i)))
    return Found(floor, None)


class _Table:
    """What a node makes and reads, by index, for states that are bit sets."""

    def __init__(self, graph: Graph, chain: int, front: int, held: Mapping[str, int] | None = None) -> None:
        self._graph, self.nodes, self._longest, self._front = graph, graph.nodes, chain, front
        self._index = {name: k for k, name in enumerate(n for n in graph.values if in_arena(graph, n))}
        self._bytes = [rounded((held or {}).get(n, graph.value(n).nbytes)) for n in self._index]
        self._ins = [self._known(dict.fromkeys(n.ins)) for n in graph.nodes]
        self._outs = [self._known(n.written) for n in graph.nodes]
        self._before = [sum(1 << j for j in needs) for needs in dependencies(graph)]
        self._after: list[list[int]] = [[] for _ in graph.nodes]
        for i, needs in enumerate(dependencies(graph)):
            for j in needs:
                self._after[j].append(i)
        self._readers = [0] * len(self._index)
        for i, names in enumerate(self._ins):
            for k in names:
                self._readers[k] |= 1 << i
        self._in_place = [self._first(n) for n in graph.nodes]
        self._inputs = self._known(v.name for v in graph.inputs)

    def _known(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(self._index[n] for n in names if n in self._index)

    def _first(self, node: Node) -> int:
        """The operand on which the node may work in place, or -1."""
        return self._index.get(node.ins[0], -1) if shared(self._graph, node) else -1

    def start(self) -> tuple[_State, int]:
        """After the forward nodes; and the least that any order needs: theirs, or one node alone."""
        live = sum(self._bytes[k] for k in self._inputs)
        state, most = _State(0, live, (), None), 0
        forward = [i for i, n in enumerate(self.nodes) if ops.get(n.op).phase == "forward"]
        for i in forward:
            most = max(most, self.peak(state, i) if i >= self._front else 0)
            state = self.run(state, i)
        rest = [i for i in range(len(self.nodes)) if i not in set(forward)]
        ready = tuple(i for i in rest if not self._before[i] & ~state.done)
        return replace(state, ready=ready), max([most, *map(self._alone, rest)])

    def _alone(self, i: int) -> int:
        """Operands and results of one node."""
        every = sum(self._bytes[k] for k in (*self._ins[i], *self._outs[i]))
        return every - (self._saved(i) if self._in_place[i] >= 0 else 0)

    def _saved(self, i: int) -> int:
        """Bytes that first operand and first result of a node in place have in common."""
        return min(self._bytes[self._in_place[i]], self._bytes[self._outs[i][0]])

    def _dying(self, state: _State, i: int) -> list[int]:
        left = ~(state.done | 1 << i)
        return [k for k in self._ins[i] if not self._readers[k] & left]

    def peak(self, state: _State, i: int) -> int:
        """Bytes alive while node i runs."""
        made = sum(self._bytes[k] for k in self._outs[i])
        if self._in_place[i] in self._dying(state, i):
            made -= self._saved(i)
        return state.live + made

    def run(self, state: _State, i: int) -> _State:
        """The state after node i."""
        done = state.done | 1 << i
        kept = sum(self._bytes[k] for k in self._outs[i] if self._readers[k])
        live = state.live + kept - sum(self._bytes[k] for k in self._dying(state, i))
        new = [j for j in self._after[i] if not self._before[j] & ~done]
        ready = tuple(sorted({*state.ready, *new} - {i}))
        return _State(done, live, ready, _Link(i, state.last))

    def run_free(self, state: _State, limit: int) -> _State:
        """Run every chain that fits below the limit and leaves no more alive than before.

        That is never worse than to run its nodes later: live bytes are submodular in the set of finished
        nodes, and while a chain is under way more is alive than after it.
        """
        while True:
            for i in state.ready:
                after = self._chain(state, i, state.live, limit, self._longest)
                if after:
                    state = after
                    break
            else:
                return state

    def _chain(self, state: _State, i: int, live: int, limit: int, length: int) -> _State | None:
        """Node i, and if that leaves more alive, a node that only i made ready, and so on."""
        if self.peak(state, i) > limit:
            return None
        after = self.run(state, i)
        if after.live <= live:
            return after
        new = [j for j in after.ready if j not in state.ready] if length > 1 else []
        chains = (self._chain(after, j, live, limit, length - 1) for j in new)
        return next((found for found in chains if found), None)

    def order(self, state: _State) -> Order:
        found: list[Node] = []
        link = state.last
        while link:
            found.append(self.nodes[link.node])
            link = link.before
        return tuple(reversed(found))
