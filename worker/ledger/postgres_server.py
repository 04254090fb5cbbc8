"""The connections to a PostgreSQL server: how they are opened and given up, who changes the schema, and what errors mean.

Sources: PostgreSQL's documentation, "PostgreSQL Error Codes" and "Database Connection Control Functions"; psycopg 3's and psycopg_pool's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from worker.core.errors import LedgerError
from worker.ledger.entries import LedgerRefused

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

CONNECT_S = 5
ANSWER_S = 15.0
"""How long the server may take over one exchange; a standby that must confirm and does not answer counts."""

GATHER_S = 0.002
"""How long an exchange for many waits for company when the last one had some: short against a request to Ditio."""

MOST_CONNECTIONS = 4
OLDEST = 140000

DEFAULTS: Mapping[str, str | int] = MappingProxyType(
    {
        "application_name": "ditio-worker",
        "connect_timeout": CONNECT_S,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "target_session_attrs": "read-write",  # of several hosts the one that takes writes, also after a failover
    }
)
"""Parameters of a connection that its address does not give: a host that is gone is noticed within seconds."""

SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "23": "its rows contradict each other",
        "25006": "the server takes no writes: it is a standby, or was made read-only",
        "28": "the server refuses this user or password",
        "3D000": "there is no such database",
        "42501": "this role lacks a right; see docs/operating.md, PostgreSQL",
        "53100": "the server's disk is full",
        "53300": "the server has no connection left",
        "57P": "the server is shutting down or starting",
        "58": "the server's disk does not read or write",
        "XX001": "the server's data are damaged",
    }
)
"""SQLSTATEs, or how they begin, as sentences."""

NO_SCHEMA = (
    "this role has no schema of its own to keep its tables in: as an administrator, CREATE SCHEMA ditio_worker AUTHORIZATION "
    "ditio_worker (the schema is found by having the role's name)"
)


class PostgresServer:
    """A database and a pool of connections to it. Every method raises LedgerError when the server cannot be reached."""

    def __init__(self, url: str, *, writes: bool = True) -> None:
        """Raises LedgerRefused for an address that cannot be one."""
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:
            raise LedgerRefused("LEDGER_URL: PostgreSQL's client library cannot read this address") from None
        defaults = dict(DEFAULTS) if writes else {**DEFAULTS, "target_session_attrs": "any"}
        merged: dict[str, Any] = {**defaults, **given}
        merged["options"] = f"{given.get('options') or ''} {_settings(writes=writes)}".strip()
        self._conninfo = make_conninfo(**merged)
        self.where = f"{given.get('dbname')} at {given.get('host')}"
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=MOST_CONNECTIONS,
            open=False,
            name="ledger",
            timeout=CONNECT_S,
            reconnect_timeout=CONNECT_S,
        )
        self.schema = ""
        self._closed = False
        self._mending: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Fills the pool."""
        await self._pool.open()

    async def examine(self, connection: Connection) -> None:
        """Raises LedgerRefused when the database cannot hold a ledger."""
        row = await (await connection.execute("SELECT current_schema(), current_setting('server_encoding')")).fetchone()
        schema, encoding = row or (None, None)
        if connection.info.server_version < OLDEST:
            raise LedgerRefused(f"ledger {self.where}: PostgreSQL {OLDEST // 10_000} or newer is needed")
        if schema is None:
            raise LedgerRefused(f"ledger {self.where}: {NO_SCHEMA}")
        if encoding != "UTF8":
            raise LedgerRefused(f"ledger {self.where}: its encoding is {encoding}; make the database with ENCODING 'UTF8'")
        self.schema = str(schema)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool for one exchange. Errors of psycopg's become LedgerError, whose cause they are."""
        if self._closed:
            raise LedgerError("the ledger is closed")
        try:
            async with self._pool.connection() as connection, patience(connection):
                try:
                    yield connection
                except psycopg.errors.ReadOnlySqlTransaction:
                    await connection.close()  # a primary that was made a standby: the pool looks for the new one
                    raise
        except PoolClosed:
            raise LedgerError("the ledger is closed") from None
        except PoolTimeout as error:
            raise LedgerError(f"ledger {self.where}: the server cannot be reached") from error
        except (psycopg.Error, OSError) as error:
            if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError):
                self._mend()
            raise explained(self.where, error) from error

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[Connection]:
        """A connection beside the pool."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            raise explained(self.where, error) from error
        try:
            async with patience(connection):
                yield connection
        finally:
            await connection.close()

    async def connect(self) -> Connection:
        """A connection beside the pool that the caller keeps and closes. Raises psycopg's errors."""
        return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)

    async def close(self) -> None:
        """Closes all connections. Closing again does nothing."""
        self._closed = True
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)
        await self._pool.close(timeout=CONNECT_S)

    def number(self, *words: str) -> int:
        """The advisory lock of a thing in this ledger: 64 bits of a hash, so that two ledgers in one database do not meet."""
        digest = blake2b("\0".join((self.schema, *words)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    def _mend(self) -> None:
        """One connection was lost: the others may be, too, and are looked at before somebody else is handed one."""

        async def mend() -> None:
            with suppress(psycopg.Error, PoolClosed, PoolTimeout):
                await self._pool.check()

        if not self._closed and (self._mending is None or self._mending.done()):
            self._mending = asyncio.get_running_loop().create_task(mend())


@asynccontextmanager
async def patience(connection: Connection, seconds: float = ANSWER_S) -> AsyncIterator[None]:
    """Cuts a connection that takes too long over the block: whoever waits for it gets an error of psycopg's.

    Not by cancelling: a query that is cancelled while it waits for a standby counts as committed.
    """

    def cut() -> None:
        with suppress(psycopg.Error, OSError), socket.socket(fileno=socket.dup(connection.fileno())) as held:
            held.shutdown(socket.SHUT_RDWR)

    timer = asyncio.get_running_loop().call_later(seconds, cut)
    try:
        yield
    finally:
        timer.cancel()


def explained(where: str, error: BaseException) -> LedgerError:
    """The error that callers get for one of psycopg's."""
    state = getattr(error, "sqlstate", None) or ""
    sentence = next((SENTENCES[state[:length]] for length in (5, 3, 2) if state[:length] in SENTENCES), None)
    said = " ".join(str(error).split()) or type(error).__name__
    return LedgerError(f"ledger {where}: {sentence} ({said})" if sentence else f"ledger {where}: {said}")


def _settings(*, writes: bool) -> str:
    return "-c synchronous_commit=on" if writes else "-c default_transaction_read_only=on"
