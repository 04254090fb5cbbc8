"""What the PostgreSQL ledger keeps for the guards and for those who look: pauses, harms, what waits, when workers ran, where it lies.

Each function is one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import psycopg

from worker.core.harm import WINDOW_S, admitted
from worker.ledger import postgres_statements as sql
from worker.ledger.entries import Aside, Pause, Run, Unsettled, mass_change
from worker.ledger.postgres_notes import LIVING
from worker.ledger.postgres_server import Connection
from worker.ports import Key, WorkOrder

PUT_ASIDE = (
    "INSERT INTO waiting (source, event_id, kind, state, place, external_id, back_at, aside) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (source, event_id) DO UPDATE SET kind = excluded.kind, state = excluded.state, place = excluded.place,"
    " external_id = excluded.external_id, back_at = excluded.back_at, aside = excluded.aside"
)
TAKEN_UP = "DELETE FROM waiting WHERE source = %s AND event_id = %s"
KINDS = "SELECT kind, count(*) FROM waiting GROUP BY kind"
WORK_ORDERS = "SELECT state, count(*) FROM (SELECT DISTINCT state, place, external_id FROM waiting) AS each GROUP BY state"
OUTCOMES = "SELECT outcome, count(*) FROM history WHERE at >= %s AND event_id <> '' GROUP BY outcome"
DOUBTS = "SELECT count(*) FROM work_orders WHERE doubt_until > 0"
PROJECTS = "SELECT DISTINCT project_id FROM work_orders ORDER BY project_id"
REBASE = (
    "UPDATE work_orders SET record = %s, task_id = %s, version = version + 1"
    " WHERE external_id = %s AND project_id = %s AND version = %s"
)
MORE = "SELECT harm FROM unnest(%s::text[]) AS harm EXCEPT SELECT harm FROM harms"
BEGIN_RUN = "INSERT INTO runs (life, started) VALUES (%s, %s)"
OLDEST_RUNS = "DELETE FROM runs WHERE id <= (SELECT max(id) FROM runs) - %s"
END_RUN = "UPDATE runs SET ended = %s WHERE id = (SELECT max(id) FROM runs WHERE life = %s)"
RUNS = (
    f"WITH now AS (SELECT max(id) AS id FROM runs WHERE ended IS NULL AND life IN {LIVING} GROUP BY life),"
    " told AS (SELECT * FROM runs WHERE id NOT IN (SELECT id FROM now) OR id = (SELECT max(id) FROM runs))"
    " SELECT started, ended FROM told WHERE started >= %(since)s"
    " OR id = (SELECT max(id) FROM told WHERE started < %(since)s) ORDER BY id DESC"
)
MOST_RUNS = 1_000
"""Runs that are remembered: a worker that falls every second is told by fewer."""

HOME = (
    "SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), 'work_orders'::regclass::oid,"
    " substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))"
)
"""Which server, table and timeline: restoring a dump makes another table, going back in time and a failover another timeline."""

KNOW_HOME = "INSERT INTO meta (key, value) VALUES ('home', %s) ON CONFLICT (key) DO NOTHING"

read_aside = msgspec.json.Decoder(Aside).decode


async def paused(connection: Connection) -> Pause | None:
    """The pause in force."""
    row = await (await connection.execute(sql.META, (["paused"],))).fetchone()
    return sql.read_pause(row[1]) if row else None


async def resume(connection: Connection, now: float) -> Pause | None:
    """Ends the pause, and notes when; after one for a mass change counts from nothing again."""
    async with connection.transaction():
        ended = await paused(connection)
        await connection.execute(sql.SET_META, ("resumed", repr(now)))
        await connection.execute(sql.DROP_META, ("paused",))
        if ended is not None and ended.cause == "mass-change":
            await connection.execute("DELETE FROM harms")
    return ended


async def resumed(connection: Connection) -> float:
    """When an operator last said to go on; 0: never."""
    row = await (await connection.execute(sql.META, (["resumed"],))).fetchone()
    return float(row[1]) if row else 0.0


async def spend(connection: Connection, lock: int, harms: Sequence[str], most: int, now: float) -> bool:
    """Counts harms, or pauses. `lock`: one worker counts after the other."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
        await connection.execute("DELETE FROM harms WHERE at <= %s", (now - WINDOW_S,))
        more = [harm for (harm,) in await (await connection.execute(MORE, (list(harms),))).fetchall()]
        ((spent,),) = await (await connection.execute("SELECT count(*) FROM harms")).fetchall()
        if more and not admitted(spent, len(more), most):
            if await paused(connection) is None:
                pause = Pause(mass_change(most), "the worker", now, "mass-change")
                await connection.execute(sql.SET_META, ("paused", sql.text(pause)))
            return False
        await connection.execute("INSERT INTO harms (harm, at) SELECT harm, %s FROM unnest(%s::text[]) AS harm", (now, more))
    return True


def aside_row(aside: Aside) -> Sequence[object]:
    """An event in a wait queue as PUT_ASIDE takes it."""
    return aside.source, aside.id, aside.kind, aside.state, aside.place, aside.external_id, aside.back_at, sql.text(aside)


async def forget_waiting(connection: Connection, back_before: int) -> int:
    """Forgets what should have come back by then."""
    return (await connection.execute("DELETE FROM waiting WHERE back_at < %s", (back_before,))).rowcount


async def waiting(connection: Connection) -> Sequence[Aside]:
    """What waits, the longest first."""
    found = [read_aside(aside) for (aside,) in await (await connection.execute("SELECT aside FROM waiting")).fetchall()]
    return sorted(found, key=lambda each: (each.since, each.source, each.id))


async def unsettled(connection: Connection) -> Unsettled:
    """The same, counted."""
    kinds = await (await connection.execute(KINDS)).fetchall()
    return Unsettled(dict(kinds), dict(await (await connection.execute(WORK_ORDERS)).fetchall()))


async def outcomes(connection: Connection, since: int) -> Mapping[str, int]:
    """How many events ended how since then."""
    return dict(await (await connection.execute(OUTCOMES, (since,))).fetchall())


async def restored(connection: Connection) -> bool:
    """Whether it lies elsewhere than when its records were last believed."""
    home = await _home(connection)
    row = await (await connection.execute(sql.META, (["home"],))).fetchone()
    if row is not None and row[1] == home:
        return False
    if row is not None and await (await connection.execute("SELECT 1 FROM work_orders LIMIT 1")).fetchone():
        return True
    await believe(connection)
    return False


async def believe(connection: Connection) -> None:
    """Notes where it lies: its records hold here."""
    await connection.execute(sql.SET_META, ("home", await _home(connection)))


async def settle_in(connection: Connection) -> None:
    """Notes where it lies, unless that was noted."""
    await connection.execute(KNOW_HOME, (await _home(connection),))


async def rebase(connection: Connection, orders: Sequence[WorkOrder], versions: Mapping[Key, int]) -> None:
    """Replaces records and tasks, where no other worker has written them since they were read."""
    rows = [
        (sql.text(order.record), order.task_id, order.key.external_id, order.key.project_id, versions.get(order.key, 0))
        for order in sorted(orders, key=lambda order: (order.key.external_id, order.key.project_id))
    ]
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(REBASE, rows)


async def begin_run(connection: Connection, life: int, now: float) -> None:
    """Notes that a worker starts."""
    await connection.execute(BEGIN_RUN, (life, now))
    await connection.execute(OLDEST_RUNS, (MOST_RUNS,))


async def runs(connection: Connection, since: float) -> Sequence[Run]:
    """Those that started since then, and the one before them; of those that run now only the newest of all."""
    return [Run(*row) for row in await (await connection.execute(RUNS, {"since": since})).fetchall()]


async def _home(connection: Connection) -> str:
    """Empty where the server does not tell, as some that only resemble PostgreSQL do not."""
    try:
        row = await (await connection.execute(HOME)).fetchone()
    except (psycopg.NotSupportedError, psycopg.ProgrammingError, psycopg.errors.ObjectNotInPrerequisiteState):
        return ""
    return str(row[0]) if row else ""
