"""What is known of a work order, and how two pieces of knowledge become one.

A record is a join of maxima, so merging is commutative, associative and idempotent: the order of arrival, duplicates and
stale writers cannot change where it ends. The same shape serves what an event says and what Ditio has confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce

import msgspec

from worker.core.field import Value
from worker.core.stamp import Stamp


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """A field's value and stamp.

    `reset` marks the emptiness that a floor says, which any event of the same stamp beats. With `ref` the value is the externalId of a
    work order of the same project, and what goes to Ditio is the id of its task: an id may change, what the event said does not.
    """

    value: Value
    stamp: Stamp
    reset: bool = False
    ref: bool = False

    def rank(self) -> tuple[Stamp, bool, bytes, bool]:
        """The order of two cells of one field: stamp, then said before reset, then the larger canonical JSON."""
        return self.stamp, not self.reset, msgspec.json.encode(self.value), self.ref


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cells of a work order.

    `exists` is a cell like any other (true: created or updated, false: deleted). Every field in `owned` (and every cell)
    that is older than `floor` counts as reset. `owned` names each field that any event has ever set.
    """

    cells: Mapping[str, Cell] = {}
    exists: Cell | None = None
    floor: Stamp | None = None
    owned: frozenset[str] = frozenset()

    def standing(self) -> Mapping[str, Cell]:
        """The cell that stands for each owned field, with what lies below the floor reset."""
        if self.floor is None:
            return self.cells
        reset = Cell(None, self.floor, reset=True)
        names = self.owned.union(self.cells)
        return {name: newer(self.cells.get(name, reset), reset) for name in sorted(names)}


def newer(a: Cell, b: Cell) -> Cell:
    """The cell that stands when two are known for one field."""
    if a.stamp != b.stamp:
        return a if a.stamp > b.stamp else b
    return max(a, b, key=Cell.rank)


def merge(a: Record, b: Record) -> Record:
    """Everything that either record knows."""
    cells = dict(a.cells)
    for name, cell in b.cells.items():
        cells[name] = newer(cells[name], cell) if name in cells else cell
    return Record(cells, _newer_or(a.exists, b.exists), _later_or(a.floor, b.floor), a.owned | b.owned)


def merge_all(records: Iterable[Record]) -> Record:
    """Everything that any of the records knows."""
    return reduce(merge, records, Record())


def _newer_or(a: Cell | None, b: Cell | None) -> Cell | None:
    return newer(a, b) if a and b else a or b


def _later_or(a: Stamp | None, b: Stamp | None) -> Stamp | None:
    return max(a, b) if a and b else a or b
