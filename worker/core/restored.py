"""A ledger that was put back to an older state: its stamps are still true, as bounds, but its values may no longer stand in Ditio.

What Ditio shows was written by events that the ledger has forgotten, and that will not come again. So where it shows something else
than the record, that takes the record's place, newer than whatever the record had heard of.
"""

from __future__ import annotations

import msgspec

from worker.core.field import NEVER_NULL
from worker.core.plan import Family, Policy, Shown, differences, wanted
from worker.core.record import Cell, Record
from worker.core.stamp import Stamp


def as_shown(record: Record, shown: Shown, policy: Policy, family: Family = Family()) -> Record:
    """The record with the values that Ditio shows (a complete answer) wherever they differ from its own."""
    want = wanted(record, policy, family)
    standing = record.standing()
    changed = set(differences(want.values, shown)) - (set() if want.exists else {"active"})
    cells = {name: Cell(_held(name, shown), _later(standing[name].stamp)) for name in sorted(changed)}
    exists = record.exists
    if exists is not None and not want.exists and (policy.on_delete == "delete" or shown.values.get("active") is True):
        exists = Cell(True, _later(exists.stamp))
    return Record({**record.cells, **cells}, exists, record.floor, record.owned)


def _held(name: str, shown: Shown) -> str | float | bool | None:
    return shown.values.get(name, False if name in NEVER_NULL else None)


def _later(stamp: Stamp) -> Stamp:
    """Newer than this, and older than the stamp of any event that follows."""
    return msgspec.structs.replace(stamp, repair=stamp.repair + 1)
