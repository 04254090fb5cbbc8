"""What the SQLite ledger says to its database. Each function is one operation on an open connection; none begins or ends a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from worker.core.record import Record, merge
from worker.ledger.store import Binding, Pause
from worker.ports import Happened, Key, WorkOrder

ORDER = "SELECT id, record, task_id, doubt_until FROM work_orders WHERE external_id = ? AND project_id = ?"
ORDERS = "SELECT project_id, external_id, record, task_id, doubt_until FROM work_orders"
LINES = "SELECT at, outcome, source, event_id, type, time, first_seen, detail, calls, before FROM history"
NEW_LINE = (
    "INSERT INTO history (work_order, at, outcome, source, event_id, type, time, first_seen, detail, calls, before)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
LAST_EVENT = (
    "SELECT work_order, id FROM history INDEXED BY history_by_age WHERE work_order IN"
    " (SELECT id FROM work_orders WHERE project_id = ?) AND event_id <> '' ORDER BY at DESC, id DESC LIMIT 1"
)
REMEMBER = (
    "INSERT INTO first_seen (source, event_id, at) VALUES (?, ?, ?) ON CONFLICT (source, event_id) DO UPDATE SET at = excluded.at"
)
SET_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

read_record = msgspec.json.Decoder(Record).decode
read_calls = msgspec.json.Decoder(tuple[str, ...]).decode
read_before = msgspec.json.Decoder(dict[str, object]).decode
read_pause = msgspec.json.Decoder(Pause).decode
write = msgspec.json.Encoder().encode


def applied(db: sqlite3.Connection) -> Sequence[int]:
    """The numbers of the migrations that were done; none in an empty file."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone():
        return ()
    return [number for (number,) in db.execute("SELECT number FROM migrations")]


def binding(db: sqlite3.Connection) -> Binding | None:
    """The Ditio that the ledger is bound to."""
    meta = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('api_base', 'company_id')").fetchall())
    return Binding(meta["api_base"], meta["company_id"]) if len(meta) == 2 else None


def bind(db: sqlite3.Connection, binding: Binding) -> None:
    """Binds it for good."""
    pairs = msgspec.structs.asdict(binding).items()
    db.executemany("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", pairs)


def prove(db: sqlite3.Connection, at: float) -> None:
    """Writes a page, whatever was written before."""
    db.execute(SET_META, ("proved", str(at)))


def paused(db: sqlite3.Connection) -> Pause | None:
    """The pause in force."""
    row = db.execute("SELECT value FROM meta WHERE key = 'paused'").fetchone()
    return read_pause(row[0]) if row else None


def pause(db: sqlite3.Connection, pause: Pause) -> None:
    """Notes a pause."""
    db.execute(SET_META, ("paused", write(pause).decode()))


def resume(db: sqlite3.Connection) -> None:
    """Ends the pause."""
    db.execute("DELETE FROM meta WHERE key = 'paused'")


def first_seen(db: sqlite3.Connection, source: str, event_id: str, at: int) -> int:
    """The smaller of `at` and what is stored, which it then is."""
    row = db.execute("SELECT at FROM first_seen WHERE source = ? AND event_id = ?", (source, event_id)).fetchone()
    if row and row[0] <= at:
        return int(row[0])
    db.execute(REMEMBER, (source, event_id, at))
    return at


def load(db: sqlite3.Connection, key: Key) -> WorkOrder:
    """What is known of a work order."""
    row = db.execute(ORDER, (key.external_id, key.project_id)).fetchone()
    return WorkOrder(key, read_record(row[1]), row[2], row[3]) if row else WorkOrder(key)


def commit(db: sqlite3.Connection, order: WorkOrder, happened: Sequence[Happened]) -> None:
    """Merges the record, replaces task and doubt, appends to the history."""
    row = db.execute(ORDER, (order.key.external_id, order.key.project_id)).fetchone()
    if row:
        number, record = row[0], merge(read_record(row[1]), order.record)
        db.execute(
            "UPDATE work_orders SET record = ?, task_id = ?, doubt_until = ? WHERE id = ?",
            (write(record), order.task_id, order.doubt_until, number),
        )
    else:
        number = db.execute(
            "INSERT INTO work_orders (external_id, project_id, record, task_id, doubt_until) VALUES (?, ?, ?, ?, ?)",
            (order.key.external_id, order.key.project_id, write(order.record), order.task_id, order.doubt_until),
        ).lastrowid
    db.executemany(NEW_LINE, [_row(number, line) for line in happened])


def due(db: sqlite3.Connection, now: float, limit: int) -> Sequence[Key]:
    """The work orders whose doubt is over."""
    rows = db.execute(
        "SELECT project_id, external_id FROM work_orders WHERE doubt_until > 0 AND doubt_until <= ? ORDER BY doubt_until LIMIT ?",
        (now, limit),
    )
    return [Key(*row) for row in rows]


def next_due(db: sqlite3.Connection) -> float | None:
    """When the next doubt ends."""
    (until,) = db.execute("SELECT min(doubt_until) FROM work_orders WHERE doubt_until > 0").fetchone()
    return None if until is None else float(until)


def orders(db: sqlite3.Connection, column: str, value: str) -> Sequence[WorkOrder]:
    """The work orders of which a column (`external_id` or `task_id`) is exactly this."""
    rows = db.execute(f"{ORDERS} WHERE {column} = ? ORDER BY project_id, external_id", (value,))
    return [
        WorkOrder(Key(project, external), read_record(record), task, doubt) for project, external, record, task, doubt in rows
    ]


def history(db: sqlite3.Connection, key: Key, limit: int) -> Sequence[Happened]:
    """The last lines of a work order, oldest first."""
    row = db.execute(ORDER, (key.external_id, key.project_id)).fetchone()
    if not row:
        return ()
    lines = db.execute(f"{LINES} WHERE work_order = ? ORDER BY id DESC LIMIT ?", (row[0], limit)).fetchall()
    return [_line(line) for line in reversed(lines)]


def last_event(db: sqlite3.Connection, project_id: str) -> tuple[Key, Happened] | None:
    """The newest line that an event left in a project."""
    row = db.execute(LAST_EVENT, (project_id,)).fetchone()
    if row is None:
        return None
    order = db.execute("SELECT project_id, external_id FROM work_orders WHERE id = ?", (row[0],)).fetchone()
    return Key(*order), _line(db.execute(f"{LINES} WHERE id = ?", (row[1],)).fetchone())


def count(db: sqlite3.Connection) -> int:
    """How many work orders are known: rows are never deleted."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM work_orders").fetchone()[0])


def _row(number: int | None, line: Happened) -> tuple[object, ...]:
    texts = line.outcome, line.source, line.id, line.type, line.time, line.first_seen, line.detail
    return (number, line.at, *texts, write(line.calls).decode(), write(line.before).decode())


def _line(row: tuple[int, str, str, str, str, str, int, str, str, str]) -> Happened:
    return Happened(*row[:8], calls=read_calls(row[8]), before=read_before(row[9]))
