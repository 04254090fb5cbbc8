"""What the SQLite ledger says to its database about notes. None of these functions begins or ends a transaction."""

from __future__ import annotations

import sqlite3

from worker.core.caution import Standing
from worker.ports import Suspects

MARKS = "SELECT mark FROM notes UNION SELECT mark FROM breakers WHERE condemned = 1"
STANDING = (
    "SELECT (SELECT count(*) FROM notes WHERE mark = :mark AND worker <> :worker),"
    " EXISTS (SELECT 1 FROM breakers WHERE mark = :mark AND condemned = 1),"
    " (SELECT count(*) FROM breakers WHERE mark <> :mark AND in_a_row = 1)"
)
BROKE = (
    "INSERT INTO breakers (mark, condemned, in_a_row) VALUES (?, ?, 1)"
    " ON CONFLICT (mark) DO UPDATE SET condemned = max(condemned, excluded.condemned), in_a_row = 1"
)


def arrive(db: sqlite3.Connection) -> bool:
    """Whether the worker before ended in order; the one that begins has not yet."""
    return db.execute("DELETE FROM meta WHERE key = 'ended_in_order'").rowcount > 0


def leave(db: sqlite3.Connection) -> None:
    """The worker ends in order."""
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('ended_in_order', '1')")


def suspects(db: sqlite3.Connection) -> Suspects:
    """What is held against whom."""
    tense = db.execute("SELECT 1 FROM breakers WHERE in_a_row = 1 LIMIT 1").fetchone() is not None
    return Suspects(frozenset(mark for (mark,) in db.execute(MARKS)), tense)


def standing(db: sqlite3.Connection, mark: str, worker: str) -> Standing:
    """What is held against one message, without the worker's own note."""
    notes, condemned, others = db.execute(STANDING, {"mark": mark, "worker": worker}).fetchone()
    return Standing(notes, bool(condemned), others)


def note(db: sqlite3.Connection, mark: str, worker: str, now: float) -> None:
    """A worker touches a message."""
    db.execute("INSERT OR IGNORE INTO notes (mark, worker, at) VALUES (?, ?, ?)", (mark, worker, now))


def lift(db: sqlite3.Connection, mark: str, worker: str) -> None:
    """A worker does not any more."""
    db.execute("DELETE FROM notes WHERE mark = ? AND worker = ?", (mark, worker))


def settled(db: sqlite3.Connection, mark: str) -> None:
    """A message was handled to its end, and the row of those that were not has ended."""
    db.execute("DELETE FROM notes WHERE mark = ?", (mark,))
    db.execute("DELETE FROM breakers WHERE condemned = 0")
    db.execute("UPDATE breakers SET in_a_row = 0 WHERE in_a_row = 1")


def broke(db: sqlite3.Connection, mark: str, *, condemned: bool) -> None:
    """A message has used up its notes."""
    db.execute(BROKE, (mark, condemned))


def forgive(db: sqlite3.Connection) -> None:
    """Removes all notes."""
    db.execute("DELETE FROM notes")
