"""What the PostgreSQL ledger says to its database about dead letters and their replays. Each function is one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from worker.ledger.entries import Counted, Ended, Indexed, Replaying
from worker.ledger.postgres_server import Connection

WROTE = "INSERT INTO letters (letter_id, reason, at) VALUES (%s, %s, %s) ON CONFLICT (letter_id) DO NOTHING"
REMOVED = "DELETE FROM letters WHERE letter_id = ANY(%s)"
COUNT = "SELECT reason, count(*), min(at) FROM letters GROUP BY reason ORDER BY reason"
BEGAN = (
    "INSERT INTO replays (letter_id, replay_id, source, event_id, after, at) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (letter_id)"
    " DO UPDATE SET replay_id = excluded.replay_id, after = excluded.after, at = excluded.at"
)
OVER = "DELETE FROM replays WHERE letter_id = ANY(%s)"
NOTES = "SELECT letter_id, replay_id, source, event_id, after, at FROM replays ORDER BY at, letter_id"
NEWEST = "SELECT coalesce(max(id), 0) FROM history"
AFTER = "SELECT id, source, event_id, outcome, detail FROM history WHERE id > %s ORDER BY id LIMIT %s"


async def wrote(connection: Connection, letters: Sequence[Indexed]) -> None:
    """Adds letters."""
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(WROTE, [(each.id, each.reason, each.at) for each in letters])


async def replaced(connection: Connection, letters: Sequence[Indexed]) -> None:
    """Makes these the letters."""
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute("DELETE FROM letters")
        await cursor.executemany(WROTE, [(each.id, each.reason, each.at) for each in letters])


async def counted(connection: Connection) -> Sequence[Counted]:
    """How many there are of each reason, and when the oldest was written."""
    return [Counted(*row) for row in await (await connection.execute(COUNT)).fetchall()]


async def began(connection: Connection, notes: Sequence[Replaying]) -> None:
    """Adds notes of replays."""
    rows = [(each.letter_id, each.replay_id, each.source, each.event_id, each.after, each.at) for each in notes]
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(BEGAN, rows)


async def noted(connection: Connection) -> Sequence[Replaying]:
    """The notes, oldest first."""
    return [Replaying(*row) for row in await (await connection.execute(NOTES)).fetchall()]


async def ended(connection: Connection, after: int, limit: int) -> Sequence[Ended]:
    """The lines of history after this one, by their numbers; of several workers' lines a later one may be seen first."""
    return [Ended(*row) for row in await (await connection.execute(AFTER, (after, limit))).fetchall()]
