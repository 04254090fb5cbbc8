"""The ledger in a PostgreSQL database, for any number of workers at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

from worker.ledger import postgres_statements as sql
from worker.ledger.postgres_direct import prove_direct
from worker.ledger.postgres_groups import Groups
from worker.ledger.postgres_locks import PostgresLocks
from worker.ledger.postgres_prune import prune_some
from worker.ledger.postgres_schema import migrate, up_to_date
from worker.ledger.postgres_server import PostgresServer
from worker.ledger.store import Binding, Pause
from worker.ports import Clock, Happened, Key, WorkOrder


async def open_worker(url: str, binding: Binding, clock: Clock, observe_commit: Callable[[float], None]) -> PostgresLedger:
    """Migrates and binds the schema. Raises LedgerRefused, and LedgerError when the server cannot be reached."""
    server = PostgresServer(url)
    async with server.direct() as connection:
        await server.examine(connection)
        await migrate(connection, server, binding, clock.now())
    await prove_direct(server)
    await server.open()
    return PostgresLedger(server, clock, observe_commit)


async def open_beside(url: str, clock: Clock) -> PostgresLedger:
    """Opens a schema that workers may be using. Raises LedgerRefused."""
    return await _open_existing(PostgresServer(url), clock)


async def open_read_only(url: str, clock: Clock) -> PostgresLedger:
    """Opens a schema that workers may be using, also on a standby; writing raises LedgerError. Raises LedgerRefused."""
    return await _open_existing(PostgresServer(url, writes=False), clock)


class PostgresLedger:
    """See worker.ledger.store.Store for what the methods promise."""

    def __init__(self, server: PostgresServer, clock: Clock, observe_commit: Callable[[float], None]) -> None:
        self._server = server
        self._clock = clock
        self._groups = Groups(server, observe_commit)
        self._locks = PostgresLocks(server, clock)

    @property
    def round_trips(self) -> int:
        """The exchanges that events have cost so far, those of locks among them."""
        return self._groups.round_trips + self._locks.round_trips

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock.now()

    @asynccontextmanager
    async def hold(self, key: Key, aside: Callable[[], AbstractContextManager[None]] = nullcontext) -> AsyncIterator[None]:
        """Holds the lock on a work order."""
        async with self._locks.hold(key, aside):
            yield

    def assure(self, key: Key) -> None:
        """Raises LedgerError when the lock on a work order was lost."""
        self._locks.epoch(key)

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        """The smaller of `at` and what is stored, which it then is."""
        return await self._groups.first_seen(source, event_id, at)

    async def load(self, key: Key) -> WorkOrder:
        """What is known of a work order (an empty one when nothing is)."""
        return await self._groups.load(key, self._locks.epoch(key))

    async def commit(self, order: WorkOrder, happened: Sequence[Happened] = (), *, paid: bool = False) -> None:
        """Merges the record, replaces the rest, owes to others what follows from it, appends to the history."""
        await self._groups.commit(order, happened, self._locks.epoch(order.key), paid=paid)

    async def due(self, now: float, limit: int) -> Sequence[Key]:
        """The work orders whose doubt is over, or to which something is owed, at `now`; the longest overdue first."""
        return [Key(*row[1:]) for row in await self._rows(sql.DUE, {"now": now, "limit": limit})]

    async def next_due(self) -> float | None:
        """When the next of them is due."""
        ((at,),) = await self._rows(sql.NEXT_DUE)
        return None if at is None else float(at)

    async def with_external_id(self, external_id: str) -> Sequence[WorkOrder]:
        """The work orders with exactly this external id."""
        return [sql.stored(row).order for row in await self._rows(sql.WITH_EXTERNAL_ID, (external_id,))]

    async def with_task(self, task_id: str) -> Sequence[WorkOrder]:
        """The work orders that are this task."""
        return [sql.stored(row).order for row in await self._rows(sql.WITH_TASK, (task_id,))]

    async def history(self, key: Key, limit: int = 1000) -> Sequence[Happened]:
        """The last lines of a work order, oldest first."""
        rows = await self._rows(sql.HISTORY, (key.external_id, key.project_id, limit))
        return [sql.line(row) for row in reversed(rows)]

    async def last_event(self, project_id: str) -> tuple[Key, Happened] | None:
        """The newest line that an event left in a project."""
        rows = await self._rows(sql.LAST_EVENT, (project_id,))
        return (Key(project_id, rows[0][0]), sql.line(rows[0][1:])) if rows else None

    async def work_orders(self) -> int:
        """How many work orders are known; of many about."""
        ((number,),) = await self._rows(sql.COUNT)
        return int(number)

    async def paused(self) -> Pause | None:
        """The pause in force."""
        rows = await self._rows(sql.META, (["paused"],))
        return sql.read_pause(rows[0][1]) if rows else None

    async def pause(self, reason: str, by: str) -> None:
        """Notes a pause."""
        await self._do(sql.SET_META, ("paused", sql.text(Pause(reason, by, self.now()))))

    async def resume(self) -> None:
        """Ends the pause."""
        await self._do(sql.DROP_META, ("paused",))

    async def binding(self) -> Binding | None:
        """What the schema is bound to."""
        async with self._server.connection() as connection:
            return await sql.binding(connection)

    async def prune(self, before: int) -> int:
        """Removes old history, and what was seen of events that can meet no equal any more; a part at a time."""
        total = 0
        while True:
            async with self._server.connection() as connection:
                removed = await prune_some(connection, before)
            if not removed:
                return total
            total += removed

    async def close(self) -> None:
        """Finishes what is under way, lets go of all locks, and closes the connections."""
        await self._groups.close()
        await self._locks.close()
        await self._server.close()

    async def _rows(self, statement: str, values: Any = None) -> Sequence[tuple[Any, ...]]:
        async with self._server.connection() as connection:
            return await (await connection.execute(statement, values)).fetchall()

    async def _do(self, statement: str, values: Sequence[object]) -> None:
        async with self._server.connection() as connection:
            await connection.execute(statement, values)


async def _open_existing(server: PostgresServer, clock: Clock) -> PostgresLedger:
    async with server.direct() as connection:
        await server.examine(connection)
        await up_to_date(connection, server)
    await server.open()
    return PostgresLedger(server, clock, lambda seconds: None)
