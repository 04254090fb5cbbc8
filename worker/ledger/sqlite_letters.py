"""The index of dead letters in the SQLite ledger. Each function is one operation on an open connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from worker.ledger.entries import Counted, Indexed

WROTE = "INSERT INTO letters (letter_id, reason, at) VALUES (?, ?, ?) ON CONFLICT (letter_id) DO NOTHING"
COUNT = "SELECT reason, count(*), min(at) FROM letters GROUP BY reason ORDER BY reason"


def wrote(db: sqlite3.Connection, letters: Iterable[Indexed]) -> None:
    """Adds letters."""
    db.executemany(WROTE, ((each.id, each.reason, each.at) for each in letters))


def removed(db: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Takes letters out."""
    db.executemany("DELETE FROM letters WHERE letter_id = ?", ((each,) for each in ids))


def replaced(db: sqlite3.Connection, letters: Iterable[Indexed]) -> None:
    """Makes these the letters."""
    db.execute("DELETE FROM letters")
    wrote(db, letters)


def counted(db: sqlite3.Connection) -> Sequence[Counted]:
    """How many there are of each reason, and when the oldest was written."""
    return [Counted(*row) for row in db.execute(COUNT)]
