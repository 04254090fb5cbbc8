"""What the SQLite ledger says to its database. Each function is one operation on an open connection; none begins or ends a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from worker.core.record import Record, merge
from worker.ledger.entries import Binding
from worker.ports import Happened, Key, WorkOrder

ORDERS = (
    "SELECT id, project_id, external_id, record, task_id, doubt_until, parent, parent_id, marked, owed, owed_at,"
    " EXISTS (SELECT 1 FROM work_orders child WHERE child.parent = self.external_id AND child.project_id = self.project_id)"
    " OR EXISTS (SELECT 1 FROM work_orders child WHERE child.parent_id = self.task_id) FROM work_orders self"
)
ORDER = f"{ORDERS} WHERE external_id = ? AND project_id = ?"
INSERT = (
    "INSERT INTO work_orders (record, task_id, doubt_until, parent, parent_id, marked, external_id, project_id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE = (
    "UPDATE work_orders SET record = ?, task_id = ?, doubt_until = ?, parent = ?, parent_id = ?, marked = ?, owed = owed - ?,"
    " owed_at = CASE owed WHEN ? THEN ? ELSE 0 END WHERE id = ?"
)
OWE = "UPDATE work_orders SET owed = owed + 1, owed_at = 0 WHERE"
MAKE_KNOWN = "INSERT OR IGNORE INTO work_orders (external_id, project_id, record) VALUES (?, ?, '{}')"
DUE = (
    "SELECT doubt_until AS at, project_id, external_id FROM work_orders WHERE doubt_until > 0 AND doubt_until <= ?1"
    " UNION SELECT owed_at AS at, project_id, external_id FROM work_orders WHERE owed > 0 AND owed_at <= ?1 ORDER BY at LIMIT ?2"
)
NEXT_DUE = (
    "SELECT min(at) FROM (SELECT min(doubt_until) AS at FROM work_orders WHERE doubt_until > 0"
    " UNION ALL SELECT min(owed_at) AS at FROM work_orders WHERE owed > 0)"
)
LINES = "SELECT at, outcome, source, event_id, type, time, first_seen, detail, calls, before FROM history"
NEW_LINE = (
    "INSERT INTO history (work_order, at, outcome, source, event_id, type, time, first_seen, detail, calls, before)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
LAST_EVENT = (
    "SELECT work_order, id FROM history INDEXED BY history_by_age WHERE work_order IN"
    " (SELECT id FROM work_orders WHERE project_id = ?) AND event_id <> '' ORDER BY at DESC, id DESC LIMIT 1"
)
LAST_OF_ALL = (
    "SELECT work_order, id FROM history INDEXED BY history_by_age WHERE event_id <> '' ORDER BY at DESC, id DESC LIMIT 1"
)
REMEMBER = (
    "INSERT INTO first_seen (source, event_id, at) VALUES (?, ?, ?) ON CONFLICT (source, event_id) DO UPDATE SET at = excluded.at"
)

read_record = msgspec.json.Decoder(Record).decode
read_calls = msgspec.json.Decoder(tuple[str, ...]).decode
read_before = msgspec.json.Decoder(dict[str, object]).decode
write = msgspec.json.Encoder().encode


def applied(db: sqlite3.Connection) -> Mapping[int, str]:
    """The numbers and names of the migrations that were done; none in an empty file."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone():
        return {}
    return dict(db.execute("SELECT number, name FROM migrations").fetchall())


def binding(db: sqlite3.Connection) -> Binding | None:
    """The Ditio that the ledger is bound to."""
    meta = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('api_base', 'company_id')").fetchall())
    return Binding(meta["api_base"], meta["company_id"]) if len(meta) == 2 else None


def bind(db: sqlite3.Connection, binding: Binding) -> None:
    """Binds it for good."""
    pairs = msgspec.structs.asdict(binding).items()
    db.executemany("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", pairs)


def first_seen(db: sqlite3.Connection, source: str, event_id: str, at: int) -> int:
    """The smaller of `at` and what is stored, which it then is."""
    known = seen(db, source, event_id)
    if known is not None and known <= at:
        return known
    db.execute(REMEMBER, (source, event_id, at))
    return at


def seen(db: sqlite3.Connection, source: str, event_id: str) -> int | None:
    """When this event was first received."""
    row = db.execute("SELECT at FROM first_seen WHERE source = ? AND event_id = ?", (source, event_id)).fetchone()
    return int(row[0]) if row else None


def load(db: sqlite3.Connection, key: Key) -> WorkOrder:
    """What is known of a work order."""
    row = db.execute(ORDER, (key.external_id, key.project_id)).fetchone()
    return _order(row) if row else WorkOrder(key)


def commit(db: sqlite3.Connection, order: WorkOrder, happened: Sequence[Happened], *, paid: bool) -> None:
    """Merges the record, replaces the rest, owes to others what follows from it, appends to the history."""
    key = (order.key.external_id, order.key.project_id)
    row = db.execute(ORDER, key).fetchone()
    stored = _order(row) if row else WorkOrder(order.key)
    place = (order.task_id, order.doubt_until, order.parent, order.parent_id, order.marked)
    if row:
        number, record = row[0], write(merge(stored.record, order.record))
        db.execute(UPDATE, (record, *place, order.owed if paid else 0, order.owed, order.owed_at, number))
    else:
        number = db.execute(INSERT, (write(order.record), *place, *key)).lastrowid
    _owe(db, stored, order)
    db.executemany(NEW_LINE, [_row(number, line) for line in happened])


def _owe(db: sqlite3.Connection, before: WorkOrder, after: WorkOrder) -> None:
    """What a change of place or of the task's id causes for those above and below."""
    project_id = after.key.project_id
    if (before.parent, before.parent_id) != (after.parent, after.parent_id):
        for order in (before, after):
            if order.parent is not None:
                db.execute(MAKE_KNOWN, (order.parent, project_id))
                db.execute(f"{OWE} external_id = ? AND project_id = ?", (order.parent, project_id))
            elif order.parent_id is not None:
                db.execute(f"{OWE} task_id = ?", (order.parent_id,))
    if after.task_id not in (None, before.task_id):
        db.execute(
            f"{OWE} parent = ? AND project_id = ? AND parent_id IS NOT ?", (after.key.external_id, project_id, after.task_id)
        )


def due(db: sqlite3.Connection, now: float, limit: int) -> Sequence[Key]:
    """The work orders whose doubt is over, or to which something is owed."""
    return [Key(*row[1:]) for row in db.execute(DUE, (now, limit))]


def next_due(db: sqlite3.Connection) -> float | None:
    """When the next of them is due."""
    (at,) = db.execute(NEXT_DUE).fetchone()
    return None if at is None else float(at)


def orders(db: sqlite3.Connection, column: str, value: str) -> Sequence[WorkOrder]:
    """The work orders of which a column (`external_id` or `task_id`) is exactly this."""
    return [_order(row) for row in db.execute(f"{ORDERS} WHERE {column} = ? ORDER BY project_id, external_id", (value,))]


def history(db: sqlite3.Connection, key: Key, limit: int) -> Sequence[Happened]:
    """The last lines of a work order, oldest first."""
    row = db.execute(ORDER, (key.external_id, key.project_id)).fetchone()
    if not row:
        return ()
    lines = db.execute(f"{LINES} WHERE work_order = ? ORDER BY id DESC LIMIT ?", (row[0], limit)).fetchall()
    return [_line(line) for line in reversed(lines)]


def last_event(db: sqlite3.Connection, project_id: str | None) -> tuple[Key, Happened] | None:
    """The newest line that an event left in a project, or in any."""
    row = (db.execute(LAST_OF_ALL) if project_id is None else db.execute(LAST_EVENT, (project_id,))).fetchone()
    if row is None:
        return None
    order = db.execute("SELECT project_id, external_id FROM work_orders WHERE id = ?", (row[0],)).fetchone()
    return Key(*order), _line(db.execute(f"{LINES} WHERE id = ?", (row[1],)).fetchone())


def count(db: sqlite3.Connection) -> int:
    """How many work orders are known: rows are never deleted."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM work_orders").fetchone()[0])


def _order(row: tuple[Any, ...]) -> WorkOrder:
    _, project_id, external_id, record, task_id, doubt_until, parent, parent_id, marked, owed, owed_at, named = row
    return WorkOrder(
        Key(project_id, external_id), read_record(record), task_id, doubt_until, parent, parent_id,
        bool(marked), bool(named), owed, owed_at,
    )  # fmt: skip


def _row(number: int | None, line: Happened) -> tuple[object, ...]:
    texts = line.outcome, line.source, line.id, line.type, line.time, line.first_seen, line.detail
    return (number, line.at, *texts, write(line.calls).decode(), write(line.before).decode())


def _line(row: tuple[int, str, str, str, str, str, int, str, str, str]) -> Happened:
    return Happened(*row[:8], calls=read_calls(row[8]), before=read_before(row[9]))
