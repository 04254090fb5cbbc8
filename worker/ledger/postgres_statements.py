"""What the PostgreSQL ledger says to its database. Lists travel as arrays, so that many work orders are one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import psycopg

from worker.core.record import Record
from worker.ledger.entries import Binding, Pause
from worker.ports import Happened, Key, WorkOrder

COLUMNS = (
    "self.project_id, self.external_id, self.record, self.task_id, self.doubt_until, self.parent, self.parent_id, self.marked,"
    " self.caused - self.paid, self.owed_at, EXISTS (SELECT 1 FROM work_orders child"
    " WHERE child.parent = self.external_id AND child.project_id = self.project_id)"
    " OR EXISTS (SELECT 1 FROM work_orders child WHERE child.parent_id = self.task_id), self.version, self.epoch,"
    " self.paid"
)
KEYS = "unnest(%s::text[], %s::text[]) AS wanted (external_id, project_id)"
LOAD = f"SELECT {COLUMNS} FROM {KEYS} JOIN work_orders self USING (external_id, project_id)"
WITH_EXTERNAL_ID = f"SELECT {COLUMNS} FROM work_orders self WHERE external_id = %s ORDER BY project_id, external_id"
OF_PROJECT = f"SELECT {COLUMNS} FROM work_orders self WHERE project_id = %s ORDER BY project_id, external_id"
WITH_TASK = f"SELECT {COLUMNS} FROM work_orders self WHERE task_id = %s ORDER BY project_id, external_id"

TAKE_UP = (
    "UPDATE work_orders self SET epoch = taken.epoch FROM (SELECT id, wanted.epoch"
    " FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS wanted (external_id, project_id, epoch)"
    " JOIN work_orders USING (external_id, project_id) WHERE work_orders.epoch <> wanted.epoch"
    " ORDER BY external_id, project_id FOR UPDATE OF work_orders) taken WHERE self.id = taken.id"
)
"""Whoever had the lock before, and believes that it still has, finds this epoch at its commit."""

REMEMBER = (
    "INSERT INTO first_seen AS self (source, event_id, at) SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])"
    " ON CONFLICT (source, event_id) DO UPDATE SET at = least(self.at, excluded.at) RETURNING source, event_id, at"
)
WRITE = (
    "WITH written AS (INSERT INTO work_orders AS self (external_id, project_id, record, task_id, doubt_until, parent, parent_id,"
    " marked, caused, paid, owed_at, version, epoch) SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::float8[],"
    " %s::text[], %s::text[], %s::bool[], %s::bigint[], %s::bigint[], %s::float8[], %s::bigint[], %s::bigint[])"
    " ON CONFLICT (external_id, project_id) DO UPDATE SET record = excluded.record, task_id = excluded.task_id,"
    " doubt_until = excluded.doubt_until, parent = excluded.parent, parent_id = excluded.parent_id, marked = excluded.marked,"
    " paid = excluded.paid, owed_at = CASE self.caused WHEN excluded.caused THEN excluded.owed_at ELSE 0 END,"
    " version = excluded.version, epoch = greatest(excluded.epoch, self.epoch)"
    " WHERE self.version = excluded.version - 1 AND (excluded.epoch = 0 OR self.epoch IN (0, excluded.epoch)) RETURNING 1)"
    " SELECT 1 / (count(*) = %s)::int FROM written"
)
"""All of them, or an error (division by zero) that undoes the whole transaction: one has changed since it was read.

`caused` is as far as the writer knew; more may have been caused since, and that is then due at once.
"""

LOCK_CONCERNED = (
    "SELECT 1 FROM work_orders WHERE id IN ("
    f"SELECT id FROM {KEYS} JOIN work_orders USING (external_id, project_id)"
    " UNION SELECT id FROM work_orders WHERE task_id = ANY(%s::text[])"
    " UNION SELECT id FROM unnest(%s::text[], %s::text[]) AS above (parent, project_id) JOIN work_orders USING (parent, project_id)"
    ") ORDER BY external_id, project_id FOR UPDATE"
)
"""In one order everywhere, so that two workers do not wait for each other."""

MAKE_KNOWN = (
    f"INSERT INTO work_orders (external_id, project_id) SELECT DISTINCT external_id, project_id FROM {KEYS}"
    " ORDER BY external_id, project_id ON CONFLICT DO NOTHING"
)
OWE = "UPDATE work_orders self SET caused = caused + cause.times, owed_at = 0 FROM"
OWE_NAMED = (
    f"{OWE} (SELECT external_id, project_id, count(*) AS times FROM {KEYS} GROUP BY 1, 2) cause"
    " WHERE self.external_id = cause.external_id AND self.project_id = cause.project_id"
)
OWE_TASKS = (
    f"{OWE} (SELECT task_id, count(*) AS times FROM unnest(%s::text[]) AS task_id GROUP BY 1) cause"
    " WHERE self.task_id = cause.task_id"
)
OWE_BELOW = (
    f"{OWE} (SELECT *, 1 AS times FROM unnest(%s::text[], %s::text[], %s::text[]) AS above (external_id, project_id, task_id)) cause"
    " WHERE self.parent = cause.external_id AND self.project_id = cause.project_id AND self.parent_id IS DISTINCT FROM cause.task_id"
)

NEW_LINES = (
    "INSERT INTO history (work_order, at, outcome, source, event_id, type, time, first_seen, detail, calls, before)"
    " SELECT id, line.at, outcome, source, event_id, type, time, first_seen, detail, calls, before"
    " FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[],"
    " %s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS line (external_id, project_id, at, outcome, source, event_id, type,"
    " time, first_seen, detail, calls, before, place) JOIN work_orders USING (external_id, project_id) ORDER BY place"
)
LINES = "SELECT line.at, outcome, source, event_id, type, time, first_seen, detail, calls, before FROM history line"
HISTORY = (
    f"{LINES} JOIN work_orders ON work_orders.id = line.work_order WHERE external_id = %s AND project_id = %s"
    " ORDER BY line.id DESC LIMIT %s"
)
LAST_EVENT = (
    "SELECT project_id, external_id, line.at, outcome, source, event_id, type, time, first_seen, detail, calls, before"
    " FROM history line JOIN work_orders ON work_orders.id = line.work_order"
    " WHERE event_id <> '' AND (%(project)s::text IS NULL OR project_id = %(project)s) ORDER BY line.at DESC, line.id DESC LIMIT 1"
)
SEEN = "SELECT at FROM first_seen WHERE source = %s AND event_id = %s"
DUE = (
    "SELECT at, project_id, external_id FROM (SELECT doubt_until AS at, project_id, external_id FROM work_orders"
    " WHERE doubt_until > 0 AND doubt_until <= %(now)s UNION SELECT owed_at, project_id, external_id FROM work_orders"
    " WHERE caused > paid AND owed_at <= %(now)s) due ORDER BY at, project_id, external_id LIMIT %(limit)s"
)
NEXT_DUE = (
    "SELECT least((SELECT min(doubt_until) FROM work_orders WHERE doubt_until > 0),"
    " (SELECT min(owed_at) FROM work_orders WHERE caused > paid))"
)
COUNT = (
    "SELECT CASE WHEN reltuples < 100000 THEN (SELECT count(*) FROM work_orders) ELSE reltuples::bigint END"
    " FROM pg_class WHERE oid = 'work_orders'::regclass"
)
"""Counted while they are few; of many the server's own estimate, which it renews by itself."""

META = "SELECT key, value FROM meta WHERE key = ANY(%s)"
SET_META = "INSERT INTO meta (key, value) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
DROP_META = "DELETE FROM meta WHERE key = %s"

read_record = msgspec.json.Decoder(Record).decode
read_calls = msgspec.json.Decoder(tuple[str, ...]).decode
read_before = msgspec.json.Decoder(dict[str, object]).decode
read_pause = msgspec.json.Decoder(Pause).decode


class Stored(msgspec.Struct, frozen=True):
    """A work order as it was read, or written: `version` 0 is one that is not there.

    `caused` and `paid` count from the beginning; what is owed is the difference.
    """

    order: WorkOrder
    version: int = 0
    epoch: int = 0
    caused: int = 0
    paid: int = 0


def text(value: object) -> str:
    """JSON as it is stored."""
    return msgspec.json.encode(value).decode()


def stored(row: Sequence[Any]) -> Stored:
    """From a row of COLUMNS."""
    (
        project_id,
        external_id,
        record,
        task_id,
        doubt_until,
        parent,
        parent_id,
        marked,
        owed,
        owed_at,
        named,
        version,
        epoch,
        paid,
    ) = row
    order = WorkOrder(
        Key(project_id, external_id), read_record(record), task_id, doubt_until, parent, parent_id, marked, named, owed, owed_at
    )
    return Stored(order, version, epoch, paid + owed, paid)


def columns(keys: Iterable[Key]) -> tuple[list[str], list[str]]:
    """Keys as KEYS takes them."""
    listed = list(keys)
    return [key.external_id for key in listed], [key.project_id for key in listed]


def written(rows: Sequence[Stored]) -> tuple[list[Any], ...]:
    """Work orders as WRITE takes them."""
    orders = [row.order for row in rows]
    return (
        *columns(order.key for order in orders),
        [text(order.record) for order in orders],
        [order.task_id for order in orders],
        [order.doubt_until for order in orders],
        [order.parent for order in orders],
        [order.parent_id for order in orders],
        [order.marked for order in orders],
        [row.caused for row in rows],
        [row.paid for row in rows],
        [order.owed_at for order in orders],
        [row.version for row in rows],
        [row.epoch for row in rows],
    )


def lines(happened: Sequence[tuple[Key, Happened]]) -> tuple[list[Any], ...]:
    """Lines of history as NEW_LINES takes them. A text of Ditio's may hold U+0000, which PostgreSQL's do not."""
    rows = [
        (
            key.external_id, key.project_id, line.at, line.outcome, line.source, line.id, line.type, line.time, line.first_seen,
            line.detail.replace("\0", "\ufffd"), text(line.calls), text(line.before),
        )
        for key, line in happened
    ]  # fmt: skip
    return tuple(list(column) for column in zip(*rows, strict=True))


def line(row: tuple[int, str, str, str, str, str, int, str, str, str]) -> Happened:
    """From a row of LINES."""
    return Happened(*row[:8], calls=read_calls(row[8]), before=read_before(row[9]))


async def binding(connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> Binding | None:
    """The Ditio that the ledger is bound to."""
    meta = dict(await (await connection.execute(META, (["api_base", "company_id"],))).fetchall())
    return Binding(meta["api_base"], meta["company_id"]) if len(meta) == 2 else None
