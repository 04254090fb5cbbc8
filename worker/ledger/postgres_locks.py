"""One work order, one worker at a time, over all workers on a PostgreSQL ledger: an advisory lock for each, on one connection of their own.

    hold ──► everything that waits ──► give back · try to take, in one round trip ──► taken
                      ▲                                        └──► another has it: tried again after a while
                      └────────────────────────────────────────────────────┘

The locks end with the connection, and the server ends the connection when its client is gone, or says nothing for `IDLE_S`: a worker
that was stopped does not keep others waiting. It cannot know that at once. So what it holds counts for no longer than that after the
server's last answer, and the ledger refuses the commit of one whose work order was taken up by another meanwhile.

Sources: PostgreSQL's documentation, "Advisory Locks", "Client Connection Defaults" (idle_session_timeout).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from uuid import uuid4

import msgspec
import psycopg

from worker.core.errors import LedgerError
from worker.ledger.postgres_server import GATHER_S, Connection, PostgresServer, explained, patience
from worker.ports import Clock, Key

IDLE_S = 15.0
FAREWELL_S = 1.0
AGAIN_S, AGAIN_MOST_S = 0.025, 0.4
"""How long after a first vain try the next one comes at most, and after many: by doubling, so that those of all coincide."""

EXCHANGE = (
    "WITH given AS MATERIALIZED (SELECT count(pg_advisory_unlock(lock)) FROM unnest(%s::bigint[]) AS lock)"
    " SELECT pg_try_advisory_lock(lock) FROM given LEFT JOIN unnest(%s::bigint[]) WITH ORDINALITY AS wanted (lock, place) ON true"
    " ORDER BY place"
)
"""Gives back, then takes; also when there is nothing to take.

One statement and no pipeline: after a pipeline of psycopg's the server does not count how long its client is silent (seen with 15.18).
"""


CONNECT = "SELECT nextval('lock_sessions'), pg_advisory_lock_shared(%s)"
"""Shared, because the session before may be dead without the server's knowing it yet."""


class Session(msgspec.Struct, eq=False):
    """A connection that holds locks: its number, and when (monotonic seconds) the server answered last. Dead: it holds none."""

    connection: Connection
    epoch: int
    answered: float
    dead: bool = False


class Wish(msgspec.Struct, eq=False):
    """A lock that somebody wants. The answer is the session that has it, or None: another worker has it."""

    lock: int
    waiting: asyncio.Future[Session | None]


class PostgresLocks:
    """The locks that this worker holds; `life` is one that it holds by being connected. `round_trips` counts the exchanges so far."""

    def __init__(self, server: PostgresServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._idle_s = IDLE_S
        self.life = server.number("life", uuid4().hex)
        self._phase = clock.chance() * AGAIN_MOST_S
        self._held: dict[Key, Session] = {}
        self._wanted: list[Wish] = []
        self._given: list[int] = []
        self._session: Session | None = None
        self._something = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._lives = False
        self._company = False
        self.round_trips = 0

    @asynccontextmanager
    async def hold(self, key: Key, aside: Callable[[], AbstractAsyncContextManager[None]]) -> AsyncIterator[None]:
        """See worker.ports.Ledger."""
        lock = self._server.number(key.project_id, key.external_id)
        session = await self._take(lock)
        try:
            if session is None:
                async with aside():
                    session = await self._take_when_free(lock)
            self._held[key] = session
            yield
        finally:
            self._held.pop(key, None)
            if session is not None and session is self._session:
                self._given.append(lock)
                self._something.set()

    async def live(self) -> None:
        """Connects, unless that was done, and again whenever that is lost: others can tell that this worker lives. Raises LedgerError."""
        self._lives = True
        if self._session is None and await self._take(lock := self._server.number("live", str(self.life))) is not None:
            self._given.append(lock)
            self._something.set()

    def epoch(self, key: Key) -> int:
        """The number of the session that holds this work order's lock; 0: nobody of this worker does. Raises LedgerError when it was lost."""
        session = self._held.get(key)
        if session is None:
            return 0
        if session.dead or self._clock.monotonic() - session.answered > self._idle_s:
            raise LedgerError(
                f"ledger {self._server.where}: the lock on work order {key.external_id} was lost with its connection; "
                "another worker may have taken it up"
            )
        return session.epoch

    async def close(self) -> None:
        """Lets go of all locks. Closing again does nothing."""
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        if self._session is not None:
            # By a word, for the server notices the end of a connection a moment after its client.
            with suppress(psycopg.Error, OSError):
                async with patience(self._session.connection, FAREWELL_S):
                    await self._session.connection.execute("SELECT pg_advisory_unlock_all()")
            await self._session.connection.close()
        self._lose(LedgerError("the ledger is closed"))

    async def _take(self, lock: int) -> Session | None:
        if self._closed:
            raise LedgerError("the ledger is closed")
        wish = Wish(lock, asyncio.get_running_loop().create_future())
        self._wanted.append(wish)
        self._something.set()
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())
        try:
            return await wish.waiting
        except asyncio.CancelledError:
            # Answered in the same moment: nobody is there any more to give it back.
            if wish.waiting.done() and not wish.waiting.cancelled() and wish.waiting.exception() is None:
                self._answer(wish, wish.waiting.result())
            raise

    async def _take_when_free(self, lock: int) -> Session:
        longest = AGAIN_S
        while True:
            # At the next beat of this length, so that all who wait ask in one round trip; each worker beats for itself.
            await self._clock.sleep(longest - (self._clock.monotonic() + self._phase) % longest)
            if (session := await self._take(lock)) is not None:
                return session
            longest = min(2 * longest, AGAIN_MOST_S)

    # --- the connection

    async def _work(self) -> None:
        while True:
            await self._wait()
            if self._company:
                await asyncio.sleep(GATHER_S)
            self._something.clear()
            wanted, self._wanted = self._wanted, []
            given, self._given = self._given, []
            self._company = len(wanted) + len(given) > 1
            if not wanted and self._session is None and not self._lives:
                continue
            try:
                session = self._session = self._session or await self._connect()
                taken = await self._exchange(session, given, [wish.lock for wish in wanted])
            except (psycopg.Error, OSError, LedgerError) as error:
                said = error if isinstance(error, LedgerError) else explained(self._server.where, error)
                self._wanted = [*wanted, *self._wanted]
                self._lose(said)
                continue
            for wish, had in zip(wanted, taken, strict=True):
                self._answer(wish, session if had else None)

    async def _wait(self) -> None:
        """Until there is something to do, the server must be shown that somebody is there, or it says something: mostly farewell."""
        loop = asyncio.get_running_loop()
        socket = self._session.connection.fileno() if self._session is not None else None
        if socket is not None:
            loop.add_reader(socket, self._something.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_s / 3):
                    await self._something.wait()
        finally:
            if socket is not None:
                loop.remove_reader(socket)

    def _answer(self, wish: Wish, session: Session | None) -> None:
        if not wish.waiting.done():
            wish.waiting.set_result(session)
        elif session is not None:
            self._given.append(wish.lock)
            self._something.set()

    async def _exchange(self, session: Session, given: Sequence[int], wanted: Sequence[int]) -> Sequence[bool]:
        """Gives back, takes, and shows the server that somebody is there."""
        asked = self._clock.monotonic()
        self.round_trips += 1
        async with patience(session.connection):
            cursor = await session.connection.execute(EXCHANGE, (list(given), list(wanted)))
        taken = [had for (had,) in await cursor.fetchall() if had is not None]
        session.answered = asked
        return taken

    async def _connect(self) -> Session:
        connection = await self._server.connect()
        try:
            async with patience(connection):
                await connection.execute(f"SET idle_session_timeout = {round(self._idle_s * 1000)}")
                row = await (await connection.execute(CONNECT, (self.life,))).fetchone()
        except BaseException:
            await connection.close()
            raise
        return Session(connection, row[0] if row else 0, self._clock.monotonic())

    def _lose(self, error: LedgerError) -> None:
        """The connection is gone: so are all locks, and whoever wanted one hears why."""
        if self._session is not None:
            self._session.dead = True
            self._session.connection.pgconn.finish()
            self._session = None
        self._given.clear()
        wanted, self._wanted = self._wanted, []
        for wish in wanted:
            if not wish.waiting.done():
                wish.waiting.set_exception(error)
