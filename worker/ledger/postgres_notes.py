"""What the PostgreSQL ledger says to its database about notes, and about which workers live. Each function is one transaction.

A worker that lives holds an advisory lock of its own, on the connection that holds its work orders' locks. So the note of another that
lives does not count: it has lost its connection to the broker, not its life, and the message has come here meanwhile.
"""

from __future__ import annotations

from worker.core.caution import Standing
from worker.ledger.postgres_server import Connection
from worker.ports import Suspects

WARY_S = 600
"""For so long after a worker fell, those that start are told that not all before them ended in order."""

LIVING = (
    "(SELECT classid::bigint << 32 | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
"""The locks that are held: a lock of 64 bits is shown in two halves (PostgreSQL's documentation, "pg_locks")."""

MARKS = "SELECT mark FROM notes UNION SELECT mark FROM breakers WHERE condemned"
TENSE = "SELECT EXISTS (SELECT 1 FROM breakers WHERE in_a_row)"
STANDING = (
    "SELECT (SELECT count(*) FROM notes WHERE mark = %(mark)s AND worker <> %(worker)s"
    f" AND (life = %(life)s OR life NOT IN {LIVING})),"
    " EXISTS (SELECT 1 FROM breakers WHERE mark = %(mark)s AND condemned),"
    " (SELECT count(*) FROM breakers WHERE mark <> %(mark)s AND in_a_row)"
)
NOTE = "INSERT INTO notes (mark, worker, life, at) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
LIFT = "DELETE FROM notes WHERE mark = %s AND worker = %s"
BROKE = (
    "INSERT INTO breakers AS self (mark, condemned, in_a_row) VALUES (%s, %s, true)"
    " ON CONFLICT (mark) DO UPDATE SET condemned = self.condemned OR excluded.condemned, in_a_row = true"
)
FALLEN = f"UPDATE lives SET fallen = %(now)s WHERE ended IS NULL AND fallen IS NULL AND life <> %(life)s AND life NOT IN {LIVING}"
LONG_AGO = "DELETE FROM lives WHERE fallen < %s"
BEFORE = "SELECT count(*) FILTER (WHERE ended IS NOT NULL) > 0 AND count(*) FILTER (WHERE fallen IS NOT NULL) = 0 FROM lives"
LIVE = "INSERT INTO lives (life) VALUES (%s) ON CONFLICT (life) DO UPDATE SET ended = NULL, fallen = NULL"
ENDED = "DELETE FROM lives WHERE ended IS NOT NULL"
LIVE_NOW = f"SELECT count(*) FROM lives WHERE ended IS NULL AND life IN {LIVING}"
END = "UPDATE lives SET ended = %s WHERE life = %s"


async def arrive(connection: Connection, lock: int, life: int, now: float) -> bool:
    """Whether a worker before ended in order, and none has fallen of late. `lock`: one arrives after the other."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
        await connection.execute(FALLEN, {"now": now, "life": life})
        await connection.execute(LONG_AGO, (now - WARY_S,))
        before = await (await connection.execute(BEFORE)).fetchone()
        await connection.execute(LIVE, (life,))
    return before == (True,)


async def leave(connection: Connection, life: int, now: float) -> None:
    """The worker ends in order."""
    async with connection.transaction():
        await connection.execute(ENDED)
        await connection.execute(END, (now, life))


async def suspects(connection: Connection) -> Suspects:
    """What is held against whom."""
    marks = await (await connection.execute(MARKS)).fetchall()
    return Suspects(frozenset(mark for (mark,) in marks), await (await connection.execute(TENSE)).fetchone() == (True,))


async def standing(connection: Connection, mark: str, worker: str, life: int) -> Standing:
    """What is held against one message, without the worker's own note and those of others that live."""
    ((notes, condemned, others),) = await (
        await connection.execute(STANDING, {"mark": mark, "worker": worker, "life": life})
    ).fetchall()
    return Standing(notes, condemned, others)


async def settled(connection: Connection, mark: str) -> None:
    """A message was handled to its end, and the row of those that were not has ended."""
    async with connection.transaction():
        await connection.execute("DELETE FROM notes WHERE mark = %s", (mark,))
        await connection.execute("DELETE FROM breakers WHERE NOT condemned")
        await connection.execute("UPDATE breakers SET in_a_row = false WHERE in_a_row")
