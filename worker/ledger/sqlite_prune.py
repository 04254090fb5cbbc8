"""Forgetting in the SQLite ledger: old history, and what was first seen of events that can meet no equal any more."""

from __future__ import annotations

import sqlite3

import msgspec

from worker.core.record import Record
from worker.ledger import retention

PART = 1_000
"""Lines in one transaction, so that the worker's own commits wait for milliseconds only."""

OLD = "SELECT id, work_order, source, event_id, time FROM history INDEXED BY history_by_age WHERE at < ? ORDER BY at, work_order LIMIT ?"
KEEP = "UPDATE first_seen SET work_order = ?, time = ? WHERE source = ? AND event_id = ?"
KEPT = "SELECT source, event_id, time FROM first_seen WHERE work_order = ?"
ALIVE = "SELECT 1 FROM history WHERE work_order = ? AND source = ? AND event_id = ? LIMIT 1"

read_record = msgspec.json.Decoder(Record).decode


def prune_some(db: sqlite3.Connection, before: int) -> int:
    """Removes a part of the history from before this moment (microseconds since 1970); returns how many lines, 0 at the end."""
    lines = db.execute(OLD, (before, PART)).fetchall()
    for number, order, source, event_id, time in lines:
        if event_id:
            db.execute(KEEP, (order, time, source, event_id))
        db.execute("DELETE FROM history WHERE id = ?", (number,))
    for order in sorted({order for _, order, _, _, _ in lines}):
        _forget(db, order)
    return len(lines)


def _forget(db: sqlite3.Connection, order: int) -> None:
    (record,) = db.execute("SELECT record FROM work_orders WHERE id = ?", (order,)).fetchone()
    standing = retention.times(read_record(record))
    for source, event_id, time in db.execute(KEPT, (order,)).fetchall():
        alive = db.execute(ALIVE, (order, source, event_id)).fetchone()
        if not alive and not retention.needed(time, standing):
            db.execute("DELETE FROM first_seen WHERE source = ? AND event_id = ?", (source, event_id))
