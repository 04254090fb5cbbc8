"""What many callers ask of PostgreSQL at once, in one exchange with the server.

    callers ──► everything that waits ──► first seen · take up · load · write, in one transaction and one round trip ──► only now answered

A write names the version of the work order that it was computed from, mostly one that this worker read or wrote a moment ago. Where
another has changed it since, the transaction is undone, the work orders are read under a lock, and the group is written once more: two
round trips. Nothing waits for company, unless much came in the exchange before: then for a moment.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
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
        commits = [job for job in jobs if isinstance(job, Commit)]
        for attempt in range(ATTEMPTS):
            known = all(job.order.key in self._remembered for job in commits)
            try:
                async with self._server.connection() as connection:
                    return await (self._at_once if attempt == 0 and known else self._under_lock)(connection, jobs)
            except LedgerError as error:
                if not isinstance(error.__cause__, psycopg.errors.DivisionByZero | psycopg.errors.DeadlockDetected):
                    raise
        raise LedgerError("the ledger's work orders are changed by others again and again")

    async def _at_once(self, connection: Connection, jobs: Sequence[Job]) -> Sequence[object]:
        """By what is remembered. Until its end a pipeline is one transaction."""
        self.round_trips += 1
        exchange = Exchange(jobs, self._remembered)
        async with connection.pipeline():
            await exchange.say(connection)
        return self._concluded(exchange, await exchange.heard())

    async def _under_lock(self, connection: Connection, jobs: Sequence[Job]) -> Sequence[object]:
        """By what is there, which stays so until the end of the transaction."""
        self.round_trips += 2
        keys = sorted(job.order.key for job in jobs if isinstance(job, Commit))
        async with connection.pipeline(), connection.transaction():
            cursor = await connection.execute(sql.LOCK, sql.columns(keys))
            there = {row.order.key: row for row in map(sql.stored, await cursor.fetchall())}
            exchange = Exchange(jobs, {key: there.get(key) or Stored(WorkOrder(key)) for key in keys})
            await exchange.say(connection)
        return self._concluded(exchange, await exchange.heard())

    def _concluded(self, exchange: Exchange, answers: Sequence[object]) -> Sequence[object]:
        for stored in exchange.read:
            self._remembered[stored.order.key] = stored
            self._remembered.move_to_end(stored.order.key)
        for key in exchange.concerned:
            self._remembered.pop(key, None)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return answers


def _answer(job: Job, answer: object) -> None:
    waiting: asyncio.Future[Any] = job.waiting
    if waiting.done():
        return
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
