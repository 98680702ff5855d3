"""Tensors of every execution beside the reference's -> a row a tensor, aggregated over the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcugrad import ops
from mcugrad.ir import DType, Graph
from mcugrad.ir.graph import Array
from mcugrad.validate.executions import Absent, Execution, Reference, Sample, seen

Json = dict[str, Any]


@dataclass
class Cell:
    """One tensor in one execution, over all samples: `error` in the tensor's own units, inf for no number."""

    error: float = 0.0
    different: int = 0
    elements: int = 0

    def add(self, found: Array, true: Array) -> None:
        same = (found == true) | ((found != found) & (true != true))
        self.elements += true.size
        self.different += int(true.size - same.sum())
        if not same.all():
            with np.errstate(invalid="ignore"):
                errors = np.abs(found.astype(np.float64) - true.astype(np.float64))[~same]
            self.error = max(self.error, float(np.nan_to_num(errors, nan=np.inf).max()))

    @property
    def equal(self) -> bool:
        return not self.different


@dataclass
class Row:
    """One tensor: where it belongs, the reference's largest |value|, a cell per execution that shows it."""

    name: str
    layer: str
    op: str
    phase: str
    dtype: str
    shape: tuple[int, ...]
    largest: float = 0.0
    cells: dict[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """All rows in the step's order, and who took part."""

    rows: Sequence[Row]
    executions: Sequence[Execution]
    absent: Sequence[Absent]
    samples: int

    def shown(self, name: str) -> int:
        return sum(name in row.cells for row in self.rows)

    def different(self, name: str) -> list[Row]:
        return [row for row in self.rows if name in row.cells and not row.cells[name].equal]

    @property
    def equal(self) -> bool:
        return not any(self.different(e.name) for e in self.executions)

    def json(self) -> Json:
        """The whole comparison as one object."""
        return {
            "equal": self.equal,
            "samples": self.samples,
            "executions": [self._about(e) for e in self.executions],
            "absent": {a.name: a.why for a in self.absent},
            "tensors": [_json(row) for row in self.rows],
        }

    def _about(self, e: Execution) -> Json:
        names = [row.name for row in self.different(e.name)]
        about = {"name": e.name, "where": e.where, "shows": e.shows, "shown": self.shown(e.name)}
        return about | {"of": len(self.rows), "equal": not names, "different": names}


def compare(
    graph: Graph, executions: Sequence[Execution], absent: Sequence[Absent], batch: Iterable[Sample]
) -> Comparison:
    """Train every execution and the reference on the batch, step by step."""
    reference, rows, count = Reference(graph), _rows(graph), 0
    for sample in batch:
        true, count = reference.step(sample), count + 1
        for row in rows:
            values = np.abs(_plain(true[row.name], row).astype(np.float64))
            row.largest = max(row.largest, float(values.max(initial=0)))
        for execution in executions:
            found = execution.step(sample)
            for row in (row for row in rows if row.name in found):
                cell = row.cells.setdefault(execution.name, Cell())
                cell.add(*map(_plain, (found[row.name], true[row.name]), [row] * 2))
    return Comparison(rows, executions, absent, count)


def _rows(graph: Graph) -> list[Row]:
    made = {name: node for node in graph.nodes for name in node.outs}
    return [_row(graph, name, made.get(name)) for name in seen(graph)]


def _row(graph: Graph, name: str, node: Any) -> Row:
    value = graph.value(name)
    layer, op, phase = (
        (node.layer, node.op, ops.get(node.op).phase)
        if node
        else (name.rpartition(".")[0], "", "after the step")
    )
    return Row(name, layer, op, phase, value.dtype.value, value.shape)


def _plain(data: Array, row: Row) -> Array:
    """Elements side by side; a mask's bits apart."""
    if row.dtype == DType.BITS.value:
        count = int(np.prod(row.shape))
        return np.unpackbits(data.reshape(-1), bitorder="little")[:count]
    return data.reshape(-1)


def _json(row: Row) -> Json:
    cells = {
        name: {"equal": c.equal, "max_error": c.error, "different": c.different, "elements": c.elements}
        for name, c in row.cells.items()
    }
    about = {"name": row.name, "layer": row.layer, "op": row.op, "phase": row.phase, "dtype": row.dtype}
    return about | {"shape": list(row.shape), "largest": row.largest, "executions": cells}
