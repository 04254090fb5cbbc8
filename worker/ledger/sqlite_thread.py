"""The one thread that uses a SQLite connection: everything that waits for it becomes one transaction.

    callers ──► queue ──► reads, answered at once
                     └──► BEGIN IMMEDIATE · one write after the other · COMMIT ──► only now answered

Nothing waits for company: a lone write is committed as soon as the thread is free.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

import msgspec

from worker.core.errors import LedgerError

Answer = TypeVar("Answer")
Operation: TypeAlias = Callable[[sqlite3.Connection], Answer]

LARGEST_GROUP = 512
"""Writes in one transaction at most, so that another process waits milliseconds for the write lock."""


class Job(msgspec.Struct):
    """An operation and who waits for it. An operation may be tried more than once; what it did before is rolled back."""

    operation: Operation[Any]
    waiting: asyncio.Future[Any]
    writes: bool
    answer: object = None
    error: Exception | None = None


class SqliteThread:
    """Runs operations on a connection of its own. Errors of SQLite become what `explain` makes of them."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        explain: Callable[[Exception], LedgerError],
        observe_commit: Callable[[float], None],
    ) -> None:
        self._connect = connect
        self._explain = explain
        self._observe = observe_commit
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        # A daemon, so that a worker that gives up can end: what was answered is on the disk in any case.
        self._thread = Thread(target=self._run, name="ledger", daemon=True)
        self._closed = False

    async def start(self) -> None:
        """Opens the connection. Raises what opening raised."""
        self._thread.start()
        try:
            await self.read(lambda _: None)
        except BaseException:
            await self.stop()
            raise

    async def read(self, operation: Operation[Answer]) -> Answer:
        """What an operation that only reads returns."""
        return await self._submit(operation, writes=False)

    async def write(self, operation: Operation[Answer]) -> Answer:
        """What an operation returned, once it is durable. Giving up waiting does not take it back."""
        return await self._submit(operation, writes=True)

    async def stop(self) -> None:
        """Finishes what was handed in, and closes the connection."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _submit(self, operation: Operation[Answer], *, writes: bool) -> Answer:
        if self._closed:
            raise LedgerError("the ledger is closed")
        waiting: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.put(Job(operation, waiting, writes))
        return await waiting

    def _run(self) -> None:
        try:
            connection = self._connect()
        except Exception as error:
            self._refuse_all(error)
            return
        while jobs := self._waiting():
            self._serve(connection, [job for job in jobs if job])
            if None in jobs:
                break
        # Folds the log into the file, so that a copy of the file alone is complete. Not possible: the log stays beside it.
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def _waiting(self) -> Sequence[Job | None]:
        """Everything that waits; blocks until something does."""
        jobs = [self._queue.get()]
        with suppress(Empty):
            while len(jobs) < LARGEST_GROUP and jobs[-1] is not None:
                jobs.append(self._queue.get_nowait())
        return jobs

    def _serve(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> None:
        reads = [job for job in jobs if not job.writes]
        for job in reads:
            self._attempt(connection, job)
        self._answer(reads)
        writes = [job for job in jobs if job.writes]
        if writes:
            started = perf_counter()
            self._commit(connection, writes)
            self._answer(writes, perf_counter() - started)

    def _commit(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> None:
        """One transaction for all. Savepoints cost as much as the writes, so they are there only once something failed."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            if not all(self._attempt(connection, job) for job in jobs):
                connection.rollback()
                connection.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    self._guarded(connection, job)
            connection.execute("COMMIT")
        except Exception as error:
            # Nothing of the group is durable, whoever was at fault.
            for job in jobs:
                job.error = job.error or self._explained(error)
            with suppress(sqlite3.Error):
                connection.rollback()

    def _guarded(self, connection: sqlite3.Connection, job: Job) -> None:
        connection.execute("SAVEPOINT job")
        if not self._attempt(connection, job):
            if job.error is not None and not connection.in_transaction:
                raise job.error  # some errors (a disk that fails) end the whole transaction: then all of the group fail
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def _attempt(self, connection: sqlite3.Connection, job: Job) -> bool:
        job.answer, job.error = None, None
        try:
            job.answer = job.operation(connection)
        except Exception as error:
            job.error = self._explained(error)
        return job.error is None

    def _answer(self, jobs: Sequence[Job], seconds: float | None = None) -> None:
        # The loop may be gone when a worker gives up without closing; then nobody waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve, jobs, seconds)

    def _resolve(self, jobs: Sequence[Job], seconds: float | None) -> None:
        for job in jobs:
            if job.waiting.done():
                continue
            if job.error is not None:
                job.waiting.set_exception(job.error)
            else:
                job.waiting.set_result(job.answer)
        if seconds is not None:
            self._observe(seconds)

    def _refuse_all(self, error: Exception) -> None:
        while (job := self._queue.get()) is not None:
            job.error = self._explained(error)
            self._answer([job])

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, LedgerError):
            return error
        said = self._explain(error)
        said.__cause__ = error
        return said
