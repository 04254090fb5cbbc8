"""What the SQLite ledger keeps for the guards and for those who look: pauses, harms, what waits, and when workers ran.

Each function is one operation on an open connection; none begins or ends a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from worker.core.harm import WINDOW_S, admitted
from worker.ledger.entries import Aside, Pause, Run, Unsettled, mass_change
from worker.ports import WorkOrder

SET_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
PUT_ASIDE = (
    "INSERT INTO waiting (source, event_id, kind, state, place, external_id, back_at, aside) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (source, event_id) DO UPDATE SET kind = excluded.kind, state = excluded.state, place = excluded.place,"
    " external_id = excluded.external_id, back_at = excluded.back_at, aside = excluded.aside"
)
WORK_ORDERS = "SELECT state, count(*) FROM (SELECT DISTINCT state, place, external_id FROM waiting) GROUP BY state"
OUTCOMES = "SELECT outcome, count(*) FROM history INDEXED BY history_by_age WHERE at >= ? AND event_id <> '' GROUP BY outcome"
RUNS = "SELECT started, ended FROM runs WHERE started >= ? OR id = (SELECT max(id) FROM runs WHERE started < ?) ORDER BY id DESC"
MOST_RUNS = 1_000
"""Runs that are remembered: a worker that falls every second is told by fewer."""

read_aside = msgspec.json.Decoder(Aside).decode
read_pause = msgspec.json.Decoder(Pause).decode
write = msgspec.json.Encoder().encode


def paused(db: sqlite3.Connection) -> Pause | None:
    """The pause in force."""
    row = db.execute("SELECT value FROM meta WHERE key = 'paused'").fetchone()
    return read_pause(row[0]) if row else None


def pause(db: sqlite3.Connection, pause: Pause) -> None:
    """Notes a pause."""
    db.execute(SET_META, ("paused", write(pause).decode()))


def resume(db: sqlite3.Connection, now: float) -> Pause | None:
    """Ends the pause, and notes when; after one for a mass change counts from nothing again."""
    ended = paused(db)
    db.execute(SET_META, ("resumed", repr(now)))
    db.execute("DELETE FROM meta WHERE key = 'paused'")
    if ended is not None and ended.cause == "mass-change":
        db.execute("DELETE FROM harms")
    return ended


def resumed(db: sqlite3.Connection) -> float:
    """When an operator last said to go on; 0: never."""
    row = db.execute("SELECT value FROM meta WHERE key = 'resumed'").fetchone()
    return float(row[0]) if row else 0.0


def prove(db: sqlite3.Connection, at: float) -> None:
    """Writes a page, whatever was written before."""
    db.execute(SET_META, ("proved", str(at)))


def spend(db: sqlite3.Connection, harms: Sequence[str], most: int, now: float) -> bool:
    """Counts harms, or pauses."""
    db.execute("DELETE FROM harms WHERE at <= ?", (now - WINDOW_S,))
    more = [harm for harm in harms if not db.execute("SELECT 1 FROM harms WHERE harm = ?", (harm,)).fetchone()]
    (spent,) = db.execute("SELECT count(*) FROM harms").fetchone()
    if more and not admitted(spent, len(more), most):
        if paused(db) is None:
            pause(db, Pause(mass_change(most), "the worker", now, "mass-change"))
        return False
    db.executemany("INSERT INTO harms (harm, at) VALUES (?, ?)", [(harm, now) for harm in more])
    return True


def put_aside(db: sqlite3.Connection, aside: Aside) -> None:
    """Notes an event in a wait queue."""
    values = aside.source, aside.id, aside.kind, aside.state, aside.place, aside.external_id, aside.back_at, write(aside)
    db.execute(PUT_ASIDE, values)


def taken_up(db: sqlite3.Connection, source: str, event_id: str) -> None:
    """Notes that an event waits no more."""
    db.execute("DELETE FROM waiting WHERE source = ? AND event_id = ?", (source, event_id))


def forget_waiting(db: sqlite3.Connection, back_before: int) -> int:
    """Forgets what should have come back by then."""
    return db.execute("DELETE FROM waiting WHERE back_at < ?", (back_before,)).rowcount


def waiting(db: sqlite3.Connection) -> Sequence[Aside]:
    """What waits, the longest first."""
    found = [read_aside(aside) for (aside,) in db.execute("SELECT aside FROM waiting")]
    return sorted(found, key=lambda each: (each.since, each.source, each.id))


def unsettled(db: sqlite3.Connection) -> Unsettled:
    """The same, counted."""
    kinds = dict(db.execute("SELECT kind, count(*) FROM waiting GROUP BY kind").fetchall())
    return Unsettled(kinds, dict(db.execute(WORK_ORDERS).fetchall()))


def outcomes(db: sqlite3.Connection, since: int) -> Mapping[str, int]:
    """How many events ended how since then."""
    return dict(db.execute(OUTCOMES, (since,)).fetchall())


def doubts(db: sqlite3.Connection) -> int:
    """How many work orders are in doubt, or due."""
    return int(db.execute("SELECT count(*) FROM work_orders WHERE doubt_until > 0").fetchone()[0])


def compare_mark(db: sqlite3.Connection, beside: int | None) -> None:
    """Notes that the ledger was put back when it has not come as far as the file beside it says, or that file is gone."""
    known = _mark(db)
    if (beside or 0) > (known or 0) or (known is not None and beside is None):
        if db.execute("SELECT 1 FROM work_orders LIMIT 1").fetchone():
            db.execute(SET_META, ("restored", "1"))
        db.execute(SET_META, ("mark", str(max(beside or 0, known or 0))))


def advance(db: sqlite3.Connection) -> tuple[int, int]:
    """The next mark, from now on in the ledger; and how many changes this connection has made until it."""
    mark = (_mark(db) or 0) + 1
    db.execute(SET_META, ("mark", str(mark)))
    return mark, db.total_changes


def restored(db: sqlite3.Connection) -> bool:
    """Whether it was put back, and not compared since."""
    return db.execute("SELECT 1 FROM meta WHERE key = 'restored'").fetchone() is not None


def projects(db: sqlite3.Connection) -> Sequence[str]:
    """The ids of the projects of which work orders are known."""
    return [project for (project,) in db.execute("SELECT DISTINCT project_id FROM work_orders ORDER BY project_id")]


def rebase(db: sqlite3.Connection, orders: Sequence[WorkOrder]) -> None:
    """Replaces records and tasks."""
    db.executemany(
        "UPDATE work_orders SET record = ?, task_id = ? WHERE external_id = ? AND project_id = ?",
        [(write(order.record), order.task_id, order.key.external_id, order.key.project_id) for order in orders],
    )


def believe(db: sqlite3.Connection) -> None:
    """Notes that the records were compared."""
    db.execute("DELETE FROM meta WHERE key = 'restored'")


def _mark(db: sqlite3.Connection) -> int | None:
    row = db.execute("SELECT value FROM meta WHERE key = 'mark'").fetchone()
    return int(row[0]) if row else None


def begin_run(db: sqlite3.Connection, now: float) -> None:
    """Notes that a worker starts."""
    db.execute("INSERT INTO runs (started) VALUES (?)", (now,))
    db.execute("DELETE FROM runs WHERE id <= (SELECT max(id) FROM runs) - ?", (MOST_RUNS,))


def end_run(db: sqlite3.Connection, now: float) -> None:
    """Notes that the last one ends in order."""
    db.execute("UPDATE runs SET ended = ? WHERE id = (SELECT max(id) FROM runs)", (now,))


def runs(db: sqlite3.Connection, since: float) -> Sequence[Run]:
    """Those that started since then, and the one before them."""
    return [Run(*row) for row in db.execute(RUNS, (since, since))]
