"""Channel tiles: the input gradients from a projection down to the expansion before it, some of the wide
channels at a time, so that no wide gradient ever exists whole.

What such a block needs of all its channels at once is nothing: a depthwise gradient's exponent does not wait
for its operand (ops/conv.py), weights and biases are moved channel by channel, and the expansion adds up in
int32 what each tile gives to its sums, of which only the end makes a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mcugrad import ops
from mcugrad.ir import Graph, Node
from mcugrad.ops.update import MODES
from mcugrad.plan.schedule import Order, dependencies

WIDEST, LEAST = 64, 8  # channels of a tile: MG_TILE of kernels/tile.h, and whole bytes of a mask
SUM = 4  # bytes
PROJECT, DEPTHWISE, EXPAND = "conv2d_dx", "depthwise_conv2d_dx", ("conv2d_dx", "conv2d_dx_part")
PER_CHANNEL = {  # op -> axis, along which the tile goes, of its outs and operands by name
    "clamp_dx": {"da": 2, "dy": 2, "mask": 2, "m": 0},
    "conv2d_db": {"db": 0, "da": 2},
    DEPTHWISE: {"dx": 2, "da": 2, "w": 2},
    **{f"sgd_bias{mode}": {"delta": 0, "frac": 0, "db": 0, "coef": 0} for mode in MODES},
    **{f"conv2d_dw_sgd{mode}": {"w": 0, "frac": 0, "da": 2, "coef": 0} for mode in MODES},
}
FIRST = {PROJECT: {"dx": 2, "w": 3}}
LAST = {op: {"da": 2, "w": 0, "part": 0} for op in EXPAND}


@dataclass(frozen=True)
class Tiles:
    """Nodes `first` to `last` of an order, for `width` of `channels` channels at a time.

    axes: each value or param that is cut -> its axis. inside: values of which only a tile ever exists. sums:
    the gradient that the last node adds up, which takes four bytes an element until the tiles end; or "".
    """

    first: int
    last: int
    width: int
    channels: int
    axes: Mapping[str, int]
    inside: frozenset[str]
    sums: str

    def held(self, graph: Graph, name: str) -> int:
        """Bytes of a value that the nodes make, while they run."""
        value = graph.value(name)
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

    @property
    def widths(self) -> list[int]:
        """What a tile can have, the widest first: the channels are a multiple of each."""
        return [n for n in range(WIDEST, 0, -LEAST) if self.channels % n == 0]

    def at(self, order: Order, width: int) -> Tiles:
        """Where the nodes stand in an order that has them one after the other."""
        first = order.index(self.nodes[0])
        made = {n for node in self.nodes for n in node.outs} - {self.sums}
        last = first + len(self.nodes) - 1
        return Tiles(first, last, width, self.channels, self.axes, frozenset(made), self.sums)


def blocks(graph: Graph) -> list[Block]:
    """All that can be run by tiles, each as long as it can be."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.ins:
            readers.setdefault(name, []).append(node)
    found = (_Walk(graph, node, readers) for node in graph.nodes if node.op == PROJECT)
    return [walk.block for walk in found if walk.block]


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
        nodes = tuple(sorted(self.members, key=lambda n: place[id(n)]))
        return Block(nodes, self.channels, self.axes, self.sums)

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
    _, height, width, _ = graph.value(node.ins[1]).shape
    return (height, width, node.attrs["stride"], node.attrs["pad"]) == (1, 1, 1, 0)


def together(graph: Graph, order: Order, block: Block) -> Order | None:
    """The order with the block's nodes one after the other, where the last of them is; what comes between
    goes before them or, if it needs one of them, behind. None if one of them needs that."""
    number = {id(node): i for i, node in enumerate(graph.nodes)}
    before = dependencies(graph)
    members = {number[id(node)] for node in block.nodes}
    places = [i for i, node in enumerate(order) if number[id(node)] in members]
    behind: set[int] = set()
    between = [number[id(node)] for node in order[places[0] : places[-1] + 1]]
    for i in between:
        if i in members and before[i] & behind:
            return None
        if i not in members and before[i] & (members | behind):
            behind.add(i)
    early = [i for i in between if i not in members | behind]
    late = [i for i in between if i in behind]
    middle = [graph.nodes[i] for i in (*early, *sorted(members), *late)]
    return (*order[: places[0]], *middle, *order[places[-1] + 1 :])
