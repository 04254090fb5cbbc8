"""One exchange with PostgreSQL for many jobs: what is said in which order, and what each of them is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import msgspec
import psycopg

from worker.core.errors import LedgerError
from worker.core.record import merge
from worker.ledger import postgres_statements as sql
from worker.ledger.postgres_server import Connection
from worker.ledger.postgres_statements import Stored
from worker.ports import Happened, Key, WorkOrder

Cursor: TypeAlias = psycopg.AsyncCursor[tuple[Any, ...]]


class Seen(msgspec.Struct, eq=False):
    """A first-seen, and who waits for the smallest."""

    source: str
    event_id: str
    at: int
    waiting: asyncio.Future[int]


class Load(msgspec.Struct, eq=False):
    """A work order to be read, and taken up by whoever holds its lock (epoch 0: nobody does)."""

    key: Key
    epoch: int
    waiting: asyncio.Future[WorkOrder]


class Commit(msgspec.Struct, eq=False):
    """A work order to be stored."""

    order: WorkOrder
    happened: Sequence[Happened]
    paid: bool
    epoch: int
    waiting: asyncio.Future[None]


Job: TypeAlias = Seen | Load | Commit


class Exchange:
    """The jobs of one exchange. `read` is what is known of work orders after it, `forgotten` those of which nothing is known any more."""

    def __init__(self, jobs: Sequence[Job], known: Mapping[Key, Stored]) -> None:
        self._jobs = jobs
        self._refused = {
            job: LedgerError(f"another worker has taken up work order {job.order.key.external_id}: the lock on it was lost")
            for job in jobs
            if isinstance(job, Commit) and job.epoch and known[job.order.key].epoch not in (0, job.epoch)
        }
        self._seen = [job for job in jobs if isinstance(job, Seen)]
        self._loads = [job for job in jobs if isinstance(job, Load)]
        self._commits = sorted((job for job in jobs if isinstance(job, Commit) and job not in self._refused), key=_place)
        self._before = [known[job.order.key] for job in self._commits]
        self._after = [_after(before, job) for before, job in zip(self._before, self._commits, strict=True)]
        self._firsts: Cursor | None = None
        self._orders: Cursor | None = None
        self.read: list[Stored] = []
        self.forgotten = [job.order.key for job in self._refused]

    async def say(self, connection: Connection, pipeline: psycopg.AsyncPipeline) -> None:
        """Sends everything. Until its end, or until a sync, a pipeline is one transaction."""
        taken = sorted({(job.key.external_id, job.key.project_id, job.epoch) for job in self._loads if job.epoch})
        if taken:
            # By itself, because rows are locked in one order within a transaction, and these are others than those below.
            await connection.execute(sql.TAKE_UP, [list(column) for column in zip(*taken, strict=True)])
            await pipeline.sync()
        if self._seen:
            self._firsts = await connection.execute(sql.REMEMBER, self._earliest())
        if self._commits:
            await self._write(connection)
        if self._loads:
            self._orders = await connection.execute(sql.LOAD, sql.columns({job.key for job in self._loads}))

    async def heard(self) -> Sequence[object]:
        """The answers, in the order of the jobs."""
        firsts = {(source, id): at for source, id, at in await self._firsts.fetchall()} if self._firsts else {}
        orders = {row.order.key: row for row in map(sql.stored, await self._orders.fetchall())} if self._orders else {}
        loaded = {job.key: orders.get(job.key) or Stored(WorkOrder(job.key)) for job in self._loads}
        self.read = [*self._after, *loaded.values()]
        return [
            firsts[job.source, job.event_id]
            if isinstance(job, Seen)
            else loaded[job.key].order
            if isinstance(job, Load)
            else self._refused.get(job)
            for job in self._jobs
        ]

    def _earliest(self) -> tuple[list[str], list[str], list[int]]:
        """Each event once, in one order everywhere."""
        smallest: dict[tuple[str, str], int] = {}
        for job in self._seen:
            event = job.source, job.event_id
            smallest[event] = min(job.at, smallest.get(event, job.at))
        rows = sorted(smallest.items())
        return [source for (source, _), _ in rows], [id for (_, id), _ in rows], [at for _, at in rows]

    async def _write(self, connection: Connection) -> None:
        causes = Causes(list(zip((row.order for row in self._before), (row.order for row in self._after), strict=True)))
        if causes:
            named = sql.columns(chain(causes.named, (row.order.key for row in self._after)))
            await connection.execute(sql.LOCK_CONCERNED, (*named, causes.tasks, *causes.below[:2]))
        await connection.execute(sql.WRITE, (*sql.written(self._after), len(self._after)))
        if causes:
            await connection.execute(sql.MAKE_KNOWN, sql.columns(causes.named))
            await connection.execute(sql.OWE_NAMED, sql.columns(causes.named))
            await connection.execute(sql.OWE_TASKS, (causes.tasks,))
            await connection.execute(sql.OWE_BELOW, causes.below)
        happened = [(job.order.key, line) for job in self._commits for line in job.happened]
        if happened:
            await connection.execute(sql.NEW_LINES, sql.lines(happened))


class Causes:
    """To whom something is owed: work orders by name, tasks by id, and those that lie under one by name (unless under this task already)."""

    def __init__(self, changes: Sequence[tuple[WorkOrder, WorkOrder]]) -> None:
        self.named: list[Key] = []
        self.tasks: list[str] = []
        self.below: tuple[list[str], list[str], list[str]] = ([], [], [])
        for before, after in changes:
            if (before.parent, before.parent_id) != (after.parent, after.parent_id):
                self._above(before)
                self._above(after)
            if after.task_id is not None and after.task_id != before.task_id:
                for column, value in zip(self.below, (after.key.external_id, after.key.project_id, after.task_id), strict=True):
                    column.append(value)

    def __bool__(self) -> bool:
        return bool(self.named or self.tasks or self.below[0])

    def _above(self, order: WorkOrder) -> None:
        if order.parent is not None:
            self.named.append(Key(order.key.project_id, order.parent))
        elif order.parent_id is not None:
            self.tasks.append(order.parent_id)


def _place(job: Commit) -> tuple[str, str]:
    return job.order.key.external_id, job.order.key.project_id


def _after(before: Stored, job: Commit) -> Stored:
    """What is stored then: the record merged, the rest replaced. What the writer has seen owed is paid, if it says so."""
    order = msgspec.structs.replace(job.order, record=merge(before.order.record, job.order.record))
    seen = before.paid + order.owed
    return Stored(order, before.version + 1, max(before.epoch, job.epoch), seen, seen if job.paid else before.paid)
