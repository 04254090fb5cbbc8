"""What became of an event whose work order stands as all its events say."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from worker.core.outcome import Applied, Superseded, Unchanged
from worker.core.record import Record
from worker.core.stamp import Stamp

EXISTS = "exists"
"""Stands beside the names of fields for the existence of the task."""


def winners(said: Record, merged: Record) -> frozenset[str]:
    """The fields (and EXISTS) in which nothing newer stands than what an event says."""
    standing = merged.standing()
    fields = {name for name, cell in said.cells.items() if standing[name].stamp == cell.stamp}
    newest = said.exists is not None and merged.exists is not None and merged.exists.stamp == said.exists.stamp
    return frozenset(fields | {EXISTS} if newest else fields)


def verdict(said: Record, merged: Record, sent: AbstractSet[str], *, alone: bool) -> Applied | Unchanged | Superseded:
    """Applied if what was sent (names of fields, EXISTS) was this event's; `alone`: it was the only one to send anything for."""
    won = winners(said, merged)
    if sent and (alone or not won.isdisjoint(sent)):
        return Applied()
    return Unchanged() if won else Superseded()


def tied(stamp: Stamp, known: Record) -> bool:
    """Whether another event of the same time and sequence has left its mark: the queue, not the ERP, then says which is newer."""
    others = [cell.stamp for cell in (*known.cells.values(), known.exists) if cell is not None]
    return any((each.time, each.sequence) == (stamp.time, stamp.sequence) and each.id != stamp.id for each in others)
