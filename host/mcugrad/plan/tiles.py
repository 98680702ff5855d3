"""Channel tiles: the input gradients from a projection down to the expansion before it, some of the wide
channels at a time, so that no wide gradient ever exists whole.

What such a block needs of all its channels at once is nothing: a depthwise gradient's exponent does not wait
for its operand (ops/conv.py), weights and biases are moved channel by channel, and the expansion adds up in
int32 what each tile gives to its sums, of which only the end makes a gradient. The projection's operand may
be made again for each tile, some rows at a time, out of what is kept for a residual anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mcugrad import ops
from mcugrad.ir import Graph, Node
from mcugrad.ops.update import MODES
from mcugrad.ops.work import pointwise
from mcugrad.plan.schedule import Order, dependencies

WIDEST, LEAST = 64, 8  # channels of a tile; whole bytes of a mask
SUM = 4  # bytes
WHOLE = 1 << 60
PROJECT, DEPTHWISE, EXPAND = "conv2d_dx", "depthwise_conv2d_dx", ("conv2d_dx", "conv2d_dx_part")
PER_CHANNEL = {  # op -> axis, along which the tile goes, of its outs and operands by name
    "clamp_dx": {"da": 2, "dy": 2, "mask": 2, "m": 0},
    "conv2d_db": {"db": 0, "da": 2},
    DEPTHWISE: {"dx": 2, "da": 2, "w": 2},
    **{f"sgd_bias{mode}": {"delta": 0, "frac": 0, "db": 0, "coef": 0} for mode in MODES},
    **{f"conv2d_dw_sgd{mode}": {"w": 0, "frac": 0, "da": 2, "coef": 0} for mode in MODES},
}
FIRST = {PROJECT: {"dx": 2, "w": 3}}
BY_ROWS = ("clamp_dx", "scale_dx")  # element by element
PIXELS = 16  # at least, of rows made at a time
LAST = {op: {"da": 2, "w": 0, "part": 0} for op in EXPAND}


@dataclass(frozen=True)
class Tiles:
    """Nodes `first` to `last` of an order, for `width` of `channels` channels at a time.

    axes: each value or param that is cut -> its axis. inside: values of which only a tile ever exists. sums:
    the gradient that the last node adds up, which takes four bytes an element until the tiles end; or "".
    head: so many of the nodes run for `rows` rows of the projection's operand at a time, in each tile.
    """

    first: int
    last: int
    width: int
    channels: int
    axes: Mapping[str, int]
    inside: frozenset[str]
    sums: str
    head: int = 0
    rows: int = 0
    by_rows: frozenset[str] = frozenset()

    def held(self, graph: Graph, name: str) -> int:
        """Bytes of a value that the nodes make, while they run."""
        value = graph.value(name)
        if name in self.by_rows:
            return value.nbytes // value.shape[0] * self.rows
        if name == self.sums:
            return SUM * value.size
        return value.nbytes * self.width // self.channels if name in self.axes else value.nbytes


@dataclass(frozen=True)
class Block:
    """Nodes that can be run by tiles, in an order that can run; what Tiles says of them."""

    nodes: tuple[Node, ...]
    channels: int
    axes: Mapping[str, int]
    sums: str
    head: tuple[Node, ...]
    rows: int

    @property
    def widths(self) -> list[int]:
        """What a tile can have, the widest first: the channels are a multiple of each."""
        return [n for n in range(WIDEST, 0, -LEAST) if self.channels % n == 0]

    def at(self, order: Order, width: int) -> Tiles:
        """Where the nodes stand in an order that has them one after the other."""
        first = order.index(self.nodes[0])
        made = {n for node in self.nodes for n in node.written} - {self.sums}
        return Tiles(
            first,
            first + len(self.nodes) - 1,
            width,
            self.channels,
            self.axes,
            frozenset(made),
            self.sums,
            len(self.head) + 1 if self.head else 0,
            self.rows,
            frozenset(node.outs[0] for node in self.head),
        )


def blocks(graph: Graph) -> list[Block]:
    """All that can be run by tiles, each as long as it can be."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.ins:
            readers.setdefault(name, []).append(node)
    found = (_Walk(graph, node, readers) for node in graph.nodes if node.op == PROJECT)
    return [walk.block for walk in found if walk.block]


def narrowest(graph: Graph) -> dict[str, int]:
    """The least bytes of each value that tiles need not hold whole."""
    found: dict[str, int] = {}
    for block in blocks(graph):
        t = block.at(block.nodes, block.widths[-1])
        found |= {name: min(t.held(graph, name), found.get(name, WHOLE)) for name in t.inside}
    return found


class _Walk:
    """From a projection's gradient to all that reads it."""

    def __init__(self, graph: Graph, start: Node, readers: Mapping[str, Sequence[Node]]) -> None:
        self.graph, self.start, self.readers = graph, start, readers
        self.channels = graph.value(start.outs[0]).shape[2]
        self.axes: dict[str, int] = {}
        self.members: list[Node] = []
        self.sums = ""

    @cached_property
    def block(self) -> Block | None:
        if not _pointwise(self.graph, self.start) or self.channels % LEAST:
            return None
        self._join(self.start, FIRST[PROJECT])
        if not all(self._follow(name) for name in self._wide()) or len(self.members) < 3:
            return None
        place = {id(node): i for i, node in enumerate(self.graph.nodes)}
        head = self._head()
        nodes = (*head, *sorted(self.members, key=lambda n: place[id(n)]))
        return Block(nodes, self.channels, self.axes, self.sums, head, self._rows())

    def _head(self) -> tuple[Node, ...]:
        """What makes the projection's operand for nobody else, out of a value that others read too."""
        head = chain(self.graph, self.start)
        alone = all(len(self.readers[node.outs[0]]) == 1 for node in head)
        return head if head and alone and len(self.readers[head[0].ins[0]]) > 1 else ()

    def _rows(self) -> int:
        """Of the projection's operand, at a time."""
        height, width, _ = self.graph.value(self.start.ins[0]).shape
        fit = [n for n in range(1, height // 2 + 1) if height % n == 0]
        return next((n for n in fit if n * width >= PIXELS), fit[-1] if fit else height)

    def _wide(self) -> Iterator[str]:
        """What the members make by tiles, also of those that join while this goes on."""
        for node in self.members:
            yield from (n for n in node.outs if n in self.axes)

    def _follow(self, name: str) -> bool:
        """Let the readers join; whether each of them can."""
        for node in self.readers.get(name, ()):
            if any(node is member for member in self.members):
                continue
            if node.op in PER_CHANNEL:
                self._join(node, PER_CHANNEL[node.op])
            elif node.op in EXPAND and not self.sums and self._ends(node, name):
                self._join(node, LAST[node.op])
                self.sums = node.outs[0]
            else:
                return False
        return name not in self.graph.outputs.values()

    def _ends(self, node: Node, name: str) -> bool:
        narrow = self.graph.value(node.outs[0]).shape[2]
        return node.ins[0] == name and _pointwise(self.graph, node) and narrow % 4 == 0

    def _join(self, node: Node, axes: Mapping[str, int]) -> None:
        op = ops.get(node.op)
        named = [*zip(op.outs, node.outs, strict=False), *zip(op.ins, node.ins, strict=False)]
        self.axes |= {name: axes[arg.name] for arg, name in named if arg.name in axes}
        self.members.append(node)


def _pointwise(graph: Graph, node: Node) -> bool:
    return pointwise(graph.value(node.ins[1]).shape[1:3], node.attrs)


def chain(graph: Graph, node: Node) -> tuple[Node, ...]:
    """The nodes, one after the other, that make a node's first operand element by element."""
    made = {name: n for n in graph.nodes for name in n.outs}
    found: list[Node] = []
    while (maker := made.get((found or [node])[0].ins[0])) and maker.op in BY_ROWS:
        found.insert(0, maker)
    return tuple(found)


def together(graph: Graph, order: Order, block: Block) -> Order | None:
    """The order with the block's nodes one after the other, where the last of them is; what comes between
    goes before them or, if it needs one of them, behind. None if one of them needs that.

    Behind goes also what comes before them, but is needed by nothing up to their end, if all that it reads
    has to be kept for them anyway.
    """
    number = {id(node): i for i, node in enumerate(graph.nodes)}
    before, numbers = dependencies(graph), [number[id(node)] for node in order]
    members = sorted(number[id(node)] for node in block.nodes)
    places = [at for at, i in enumerate(numbers) if i in members]
    early, late = list[int](), list[int]()
    for i in numbers[places[0] : places[-1] + 1]:
        if i in members and before[i] & set(late):
            return None
        if i not in members:
            (late if before[i] & {*members, *late} else early).append(i)
    early = numbers[: places[0]] + early
    idle = _idle(graph, before, early, members)
    early = [i for i in early if i not in idle]
    ordered = [*early, *members, *idle, *late, *numbers[places[-1] + 1 :]]
    return tuple(graph.nodes[i] for i in ordered)


def _idle(
    graph: Graph, before: Sequence[set[int]], early: Sequence[int], members: Sequence[int]
) -> list[int]:
    """What can as well run behind the members, and then keeps nothing more alive."""
    kept = {name for i in members for name in graph.nodes[i].ins if name not in graph.params}
    idle, needed = list[int](), set().union(*(before[i] for i in members))
    for i in reversed(early):
        reads = {name for name in graph.nodes[i].ins if name not in graph.params}
        if reads and reads <= kept and graph.nodes[i].outs and i not in needed:
            idle.insert(0, i)
        else:
            needed |= before[i]
    return idle
