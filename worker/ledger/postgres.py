"""The ledger in a PostgreSQL database, for any number of workers at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Concatenate, ParamSpec, TypeVar

from worker.core.caution import Standing
from worker.ledger import postgres_guards as guards
from worker.ledger import postgres_letters as letters
from worker.ledger import postgres_notes as notes
from worker.ledger import postgres_statements as sql
from worker.ledger.entries import Aside, Binding, Counted, Ended, Indexed, Pause, Replaying, Run, Unsettled
from worker.ledger.postgres_direct import prove_direct
from worker.ledger.postgres_groups import Groups
from worker.ledger.postgres_locks import PostgresLocks
from worker.ledger.postgres_prune import prune_some
from worker.ledger.postgres_schema import migrate, up_to_date
from worker.ledger.postgres_server import Connection, PostgresServer
from worker.ports import Clock, Happened, Key, Suspects, WorkOrder

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


async def open_worker(url: str, binding: Binding, clock: Clock, observe_commit: Callable[[float], None]) -> PostgresLedger:
    """Migrates and binds the schema. Raises LedgerRefused, and LedgerError when the server cannot be reached."""
    server = PostgresServer(url)
    async with server.direct() as connection:
        await server.examine(connection)
        await migrate(connection, server, binding, clock.now())
    await prove_direct(server)
    await server.open()
    return PostgresLedger(server, clock, observe_commit)


async def prove(url: str) -> None:
    """Raises LedgerRefused where this database, or what sits before it, cannot serve workers; LedgerError when it cannot be reached."""
    server = PostgresServer(url)
    async with server.direct() as connection:
        await server.examine(connection)
    await prove_direct(server)


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
        self._versions: Mapping[Key, int] = {}

    @property
    def round_trips(self) -> int:
        """The exchanges that events have cost so far, those of locks among them."""
        return self._groups.round_trips + self._locks.round_trips

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock.now()

    @asynccontextmanager
    async def hold(self, key: Key, aside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext) -> AsyncIterator[None]:
        """Holds the lock on a work order."""
        async with self._locks.hold(key, aside):
            yield

    def assure(self, key: Key) -> None:
        """Raises LedgerError when the lock on a work order was lost."""
        self._locks.epoch(key)

    async def arrive(self) -> bool:
        """Whether a worker before ended in order, and none has fallen of late."""
        await self._locks.live()
        return await self._by(notes.arrive, self._server.number("lives"), self._locks.life, self.now())

    async def leave(self) -> None:
        """The worker ends in order."""
        await self._by(notes.leave, self._locks.life, self.now())

    async def suspects(self) -> Suspects:
        """What is held against whom."""
        return await self._by(notes.suspects)

    async def standing(self, mark: str, worker: str) -> Standing:
        """What is held against one message."""
        return await self._by(notes.standing, mark, worker, self._locks.life)

    async def note(self, mark: str, worker: str) -> None:
        """This worker touches this message now."""
        await self._locks.live()
        await self._do(notes.NOTE, (mark, worker, self._locks.life, self.now()))

    async def lift(self, mark: str, worker: str) -> None:
        """This worker does not, for the time being."""
        await self._do(notes.LIFT, (mark, worker))

    async def settled(self, mark: str) -> None:
        """The message was handled to its end."""
        await self._by(notes.settled, mark)

    async def broke(self, mark: str, *, condemned: bool) -> None:
        """The message has used up its notes."""
        await self._do(notes.BROKE, (mark, condemned))

    async def forgive(self) -> None:
        """Removes all notes."""
        await self._do("DELETE FROM notes")

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        """The smaller of `at` and what is stored, which it then is."""
        return await self._groups.first_seen(source, event_id, at)

    async def seen(self, source: str, event_id: str) -> int | None:
        """When this event was first received."""
        rows = await self._rows(sql.SEEN, (source, event_id))
        return int(rows[0][0]) if rows else None

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

    async def last_event(self, project_id: str | None = None) -> tuple[Key, Happened] | None:
        """The newest line that an event left in a project, or in any."""
        rows = await self._rows(sql.LAST_EVENT, {"project": project_id})
        return (Key(*rows[0][:2]), sql.line(rows[0][2:])) if rows else None

    async def work_orders(self) -> int:
        """How many work orders are known; of many about."""
        ((number,),) = await self._rows(sql.COUNT)
        return int(number)

    async def outcomes(self, since: int) -> Mapping[str, int]:
        """How many events ended how since then."""
        return await self._by(guards.outcomes, since)

    async def doubts(self) -> int:
        """How many work orders are in doubt, or due."""
        ((number,),) = await self._rows(guards.DOUBTS)
        return int(number)

    async def paused(self) -> Pause | None:
        """The pause in force."""
        return await self._by(guards.paused)

    async def pause(self, reason: str, by: str) -> None:
        """Notes a pause."""
        await self._do(sql.SET_META, ("paused", sql.text(Pause(reason, by, self.now()))))

    async def resume(self) -> Pause | None:
        """Ends the pause, and tells which."""
        return await self._by(guards.resume, self.now())

    async def resumed(self) -> float:
        """When an operator last said to go on."""
        return await self._by(guards.resumed)

    async def spend(self, harms: Sequence[str], most: int) -> bool:
        """Counts harms, or pauses and answers no."""
        return await self._by(guards.spend, self._server.number("harms"), harms, most, self.now())

    async def put_aside(self, aside: Aside) -> None:
        """Notes an event in a wait queue."""
        await self._do(guards.PUT_ASIDE, guards.aside_row(aside))

    async def taken_up(self, source: str, event_id: str) -> None:
        """Notes that an event waits no more."""
        await self._do(guards.TAKEN_UP, (source, event_id))

    async def forget_waiting(self, back_before: int) -> int:
        """Forgets what should have come back by then."""
        return await self._by(guards.forget_waiting, back_before)

    async def waiting(self) -> Sequence[Aside]:
        """The events in the wait queues, those that wait longest first."""
        return await self._by(guards.waiting)

    async def unsettled(self) -> Unsettled:
        """The same, counted."""
        return await self._by(guards.unsettled)

    async def mark(self) -> None:
        """Nothing: that an older state has taken its place shows in where it lies (see `restored`)."""

    async def restored(self) -> bool:
        """Whether it lies elsewhere, or on another timeline, than when its records were last believed."""
        return await self._by(guards.restored)

    async def projects(self) -> Sequence[str]:
        """The ids of the projects of which work orders are known."""
        return [project for (project,) in await self._rows(guards.PROJECTS)]

    async def of_project(self, project_id: str) -> Sequence[WorkOrder]:
        """The work orders of a project."""
        found = [sql.stored(row) for row in await self._rows(sql.OF_PROJECT, (project_id,))]
        self._versions = {each.order.key: each.version for each in found}
        return [each.order for each in found]

    async def rebase(self, orders: Sequence[WorkOrder]) -> None:
        """Replaces records and tasks of the project that was read last, where nobody else has done so since."""
        await self._by(guards.rebase, orders, self._versions)

    async def believe(self) -> None:
        """Notes that the records were compared."""
        await self._by(guards.believe)

    async def living(self) -> int:
        """How many workers live, this one among them."""
        ((number,),) = await self._rows(notes.LIVE_NOW)
        return max(1, int(number))

    async def begin_run(self) -> None:
        """Notes that a worker starts."""
        await self._locks.live()
        await self._by(guards.begin_run, self._locks.life, self.now())

    async def end_run(self) -> None:
        """Notes that it ends in order."""
        await self._do(guards.END_RUN, (self.now(), self._locks.life))

    async def runs(self, since: float) -> Sequence[Run]:
        """The workers that started since then, and the one before; the newest first."""
        return await self._by(guards.runs, since)

    async def letters(self) -> Sequence[Counted]:
        """The letters in the index, by reason."""
        return await self._by(letters.counted)

    async def letters_written(self, given: Sequence[Indexed]) -> None:
        """Adds letters to the index."""
        await self._by(letters.wrote, given)

    async def letters_removed(self, ids: Sequence[str]) -> None:
        """Takes letters out of the index."""
        await self._do(letters.REMOVED, (list(ids),))

    async def letters_are(self, given: Sequence[Indexed]) -> None:
        """Makes the index anew."""
        await self._by(letters.replaced, given)

    async def replaying(self) -> Sequence[Replaying]:
        """The notes of replays, oldest first."""
        return await self._by(letters.noted)

    async def replay_begins(self, given: Sequence[Replaying]) -> None:
        """Notes what is about to be published."""
        await self._by(letters.began, given)

    async def replay_ends(self, ids: Sequence[str]) -> None:
        """Crosses out notes."""
        await self._do(letters.OVER, (list(ids),))

    async def newest(self) -> int:
        """The number of the newest line of history."""
        ((number,),) = await self._rows(letters.NEWEST)
        return int(number)

    async def ended(self, after: int, limit: int = 10_000) -> Sequence[Ended]:
        """The lines of history after that number."""
        return await self._by(letters.ended, after, limit)

    async def prove(self) -> None:
        """Commits something that says nothing."""
        await self._do(sql.SET_META, ("proved", str(self.now())))

    async def binding(self) -> Binding | None:
        """What the schema is bound to."""
        return await self._by(sql.binding)

    async def prune(self, before: int) -> int:
        """Removes old history, and what was seen of events that can meet no equal any more; a part at a time."""
        total = 0
        while True:
            removed = await self._by(prune_some, before)
            if not removed:
                return total
            total += removed

    async def close(self) -> None:
        """Finishes what is under way, lets go of all locks, and closes the connections."""
        await self._groups.close()
        await self._locks.close()
        await self._server.close()

    async def _by(
        self, work: Callable[Concatenate[Connection, Given], Awaitable[Answer]], *given: Given.args, **named: Given.kwargs
    ) -> Answer:
        async with self._server.connection() as connection:
            return await work(connection, *given, **named)

    async def _rows(self, statement: str, values: Any = None) -> Sequence[tuple[Any, ...]]:
        async with self._server.connection() as connection:
            return await (await connection.execute(statement, values)).fetchall()

    async def _do(self, statement: str, values: Sequence[object] = ()) -> None:
        async with self._server.connection() as connection:
            await connection.execute(statement, values)


async def _open_existing(server: PostgresServer, clock: Clock) -> PostgresLedger:
    async with server.direct() as connection:
        await server.examine(connection)
        await up_to_date(connection, server)
    await server.open()
    return PostgresLedger(server, clock, lambda seconds: None)
