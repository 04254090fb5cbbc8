"""What many callers ask of PostgreSQL at once, in one exchange with the server.

    callers ──► everything that waits ──► first seen · write · load, in one transaction and one round trip ──► only now answered

A write names the version of the work order that it was computed from, mostly one that this worker read or wrote a moment ago. Where
another has written it since, the transaction is undone, the work orders are read again, and the group is written once more.
Nothing waits for company, unless there was some in the exchange before: then for a moment.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, TypeVar

import psycopg

from worker.core.errors import LedgerError
from worker.ledger import postgres_statements as sql
from worker.ledger.postgres_exchange import Commit, Exchange, Job, Load, Seen
from worker.ledger.postgres_server import GATHER_S, Connection, PostgresServer
from worker.ledger.postgres_statements import Stored
from worker.ports import Happened, Key, WorkOrder

Answer = TypeVar("Answer")

LARGEST_GROUP = 512
ATTEMPTS = 5
MOST_REMEMBERED = 4096


class Groups:
    """Collects jobs and does them together. `round_trips` counts the exchanges so far."""

    def __init__(self, server: PostgresServer, observe_commit: Callable[[float], None]) -> None:
        self._server = server
        self._observe = observe_commit
        self._jobs: list[Job] = []
        self._worker: asyncio.Task[None] | None = None
        self._remembered: OrderedDict[Key, Stored] = OrderedDict()
        self._closed = False
        self._company = False
        self.round_trips = 0

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        """The smallest ever given."""
        waiting: asyncio.Future[int] = self._future()
        return await self._submit(Seen(source, event_id, at, waiting), waiting)

    async def load(self, key: Key, epoch: int) -> WorkOrder:
        """A work order as it is stored."""
        waiting: asyncio.Future[WorkOrder] = self._future()
        return await self._submit(Load(key, epoch, waiting), waiting)

    async def commit(self, order: WorkOrder, happened: Sequence[Happened], epoch: int, *, paid: bool) -> None:
        """Stores a work order. Giving up waiting does not take it back."""
        waiting: asyncio.Future[None] = self._future()
        await self._submit(Commit(order, happened, paid, epoch, waiting), waiting)

    async def close(self) -> None:
        """Finishes what was handed in, and refuses the rest."""
        self._closed = True
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)

    def _future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    async def _submit(self, job: Job, waiting: Awaitable[Answer]) -> Answer:
        if self._closed:
            raise LedgerError("the ledger is closed")
        self._jobs.append(job)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())
        return await waiting

    async def _work(self) -> None:
        while self._jobs:
            if self._company and not self._closed:
                await asyncio.sleep(GATHER_S)
            jobs = self._next()
            self._company = len(jobs) > 1
            await self._serve(jobs)

    def _next(self) -> Sequence[Job]:
        """What waits, each work order at most once among the commits."""
        taken: list[Job] = []
        later: list[Job] = []
        keys: set[Key] = set()
        for place, job in enumerate(self._jobs):
            if len(taken) == LARGEST_GROUP:
                later += self._jobs[place:]
                break
            again = isinstance(job, Commit) and job.order.key in keys
            (later if again else taken).append(job)
            if isinstance(job, Commit):
                keys.add(job.order.key)
        self._jobs = later
        return taken

    async def _serve(self, jobs: Sequence[Job]) -> None:
        """Answers every job. What only one is to blame for, only one hears of."""
        started = perf_counter()
        try:
            answers = await self._exchange(jobs)
        except Exception as error:  # whatever it is, whoever waits must hear of it
            if len(jobs) > 1 and isinstance(
                error.__cause__, psycopg.DataError | psycopg.IntegrityError | psycopg.ProgrammingError
            ):
                for job in jobs:
                    await self._serve([job])
                return
            said = error if isinstance(error, LedgerError) else LedgerError(f"the ledger failed: {type(error).__name__}: {error}")
            said.__cause__ = error.__cause__
            for job in jobs:
                _answer(job, said)
            return
        for job, answer in zip(jobs, answers, strict=True):
            _answer(job, answer)
        if any(not isinstance(job, Load) for job in jobs):
            self._observe(perf_counter() - started)

    async def _exchange(self, jobs: Sequence[Job]) -> Sequence[object]:
        """One answer, or an error for it alone, for each job. Raises LedgerError when nothing of all that was done."""
        keys = [job.order.key for job in jobs if isinstance(job, Commit)]
        for attempt in range(ATTEMPTS):
            try:
                async with self._server.connection() as connection:
                    if attempt or not all(key in self._remembered for key in keys):
                        await self._read(connection, keys)
                    return await self._at_once(connection, jobs)
            except LedgerError as error:
                if not isinstance(error.__cause__, psycopg.errors.DivisionByZero | psycopg.errors.DeadlockDetected):
                    raise
        raise LedgerError("the ledger's work orders are changed by others again and again")

    async def _read(self, connection: Connection, keys: Sequence[Key]) -> None:
        """Reads what is to be written. Not under a lock: whatever changes meanwhile is read again."""
        self.round_trips += 1
        rows = await (await connection.execute(sql.LOAD, sql.columns(keys))).fetchall()
        there = {stored.order.key: stored for stored in map(sql.stored, rows)}
        self._remember(there.get(key) or Stored(WorkOrder(key)) for key in keys)

    async def _at_once(self, connection: Connection, jobs: Sequence[Job]) -> Sequence[object]:
        """By what is remembered."""
        self.round_trips += 1
        exchange = Exchange(jobs, self._remembered)
        try:
            async with connection.pipeline() as pipeline:
                await exchange.say(connection, pipeline)
        except psycopg.Error:
            # After an error the server has skipped what psycopg takes for prepared: a rollback makes it forget that.
            with suppress(psycopg.Error):
                async with connection.transaction(force_rollback=True):
                    pass
            raise
        answers = await exchange.heard()
        self._remember(exchange.read)
        for key in exchange.forgotten:
            self._remembered.pop(key, None)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return answers

    def _remember(self, read: Iterable[Stored]) -> None:
        for stored in read:
            self._remembered[stored.order.key] = stored
            self._remembered.move_to_end(stored.order.key)


def _answer(job: Job, answer: object) -> None:
    waiting: asyncio.Future[Any] = job.waiting
    if waiting.done():
        return
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
