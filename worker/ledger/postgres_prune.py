"""Forgetting in the PostgreSQL ledger: old history, and what was first seen of events that can meet no equal any more."""

from __future__ import annotations

from worker.ledger import retention
from worker.ledger.postgres_server import Connection
from worker.ledger.postgres_statements import read_record

PART = 1_000
"""Lines in one transaction, so that it is short."""

OLD = (
    "SELECT id, work_order, source, event_id, time FROM history WHERE at < %s ORDER BY at, work_order LIMIT %s"
    " FOR UPDATE SKIP LOCKED"
)
"""Past the lines that another worker removes at this moment."""

KEEP = (
    "UPDATE first_seen self SET work_order = gone.work_order, time = gone.time"
    " FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) AS gone (work_order, source, event_id, time)"
    " WHERE (self.source, self.event_id) = (gone.source, gone.event_id)"
)
REMOVE = "DELETE FROM history WHERE id = ANY(%s)"
KEPT = (
    "SELECT kept.work_order, kept.source, kept.event_id, kept.time, work_orders.record FROM first_seen kept"
    " JOIN work_orders ON work_orders.id = kept.work_order WHERE kept.work_order = ANY(%s) AND NOT EXISTS (SELECT 1 FROM history"
    " WHERE history.work_order = kept.work_order AND history.source = kept.source AND history.event_id = kept.event_id)"
)
FORGET = (
    "DELETE FROM first_seen self USING unnest(%s::text[], %s::text[]) AS gone (source, event_id)"
    " WHERE (self.source, self.event_id) = (gone.source, gone.event_id)"
)


async def prune_some(connection: Connection, before: int) -> int:
    """Removes a part of the history from before this moment (microseconds since 1970); returns how many lines, 0 at the end."""
    async with connection.transaction():
        old = await (await connection.execute(OLD, (before, PART))).fetchall()
        if not old:
            return 0
        events = [list(column) for column in zip(*(row[1:] for row in old if row[3]), strict=True)]
        if events:
            await connection.execute(KEEP, events)
        await connection.execute(REMOVE, ([row[0] for row in old],))
        await _forget(connection, sorted({row[1] for row in old}))
    return len(old)


async def _forget(connection: Connection, orders: list[int]) -> None:
    kept = await (await connection.execute(KEPT, (orders,))).fetchall()
    standing = {order: retention.times(read_record(record)) for order, record in {row[0]: row[4] for row in kept}.items()}
    gone = [(source, event_id) for order, source, event_id, time, _ in kept if not retention.needed(time, standing[order])]
    if gone:
        await connection.execute(FORGET, [list(column) for column in zip(*gone, strict=True)])
