"""What replays of dead letters keep in the SQLite ledger, and read of its history. Each function is one operation on an open connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from worker.ledger.entries import Ended, Replaying

BEGAN = (
    "INSERT INTO replays (letter_id, replay_id, source, event_id, after, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (letter_id)"
    " DO UPDATE SET replay_id = excluded.replay_id, after = excluded.after, at = excluded.at"
)
NOTES = "SELECT letter_id, replay_id, source, event_id, after, at FROM replays ORDER BY at, letter_id"
AFTER = "SELECT id, source, event_id, outcome, detail FROM history WHERE id > ? ORDER BY id LIMIT ?"


def began(db: sqlite3.Connection, notes: Iterable[Replaying]) -> None:
    """Adds notes."""
    db.executemany(BEGAN, ((each.letter_id, each.replay_id, each.source, each.event_id, each.after, each.at) for each in notes))


def over(db: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Takes notes out."""
    db.executemany("DELETE FROM replays WHERE letter_id = ?", ((each,) for each in ids))


def noted(db: sqlite3.Connection) -> Sequence[Replaying]:
    """The notes, oldest first."""
    return [Replaying(*row) for row in db.execute(NOTES)]


def newest(db: sqlite3.Connection) -> int:
    """The number of the newest line of history."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM history").fetchone()[0])


def ended(db: sqlite3.Connection, after: int, limit: int) -> Sequence[Ended]:
    """The lines of history after this one, in the order in which they were committed."""
    return [Ended(*row) for row in db.execute(AFTER, (after, limit))]
