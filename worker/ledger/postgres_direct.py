"""Whether the locks of a session last: a pooler that hands out its server connections for each transaction would break them."""

from __future__ import annotations

import asyncio

import psycopg

from worker.ledger.entries import LedgerRefused
from worker.ledger.postgres_server import Connection, PostgresServer, explained

PROOF_S = 5.0
PID = "SELECT pg_backend_pid()"

POOLED = (
    "something between this worker and PostgreSQL hands out its connections anew for each transaction (PgBouncer with "
    "pool_mode=transaction?), where locks do not last: name the server itself in LEDGER_URL, or a pooler in session mode"
)


async def prove_direct(server: PostgresServer) -> None:
    """Two clients, of which one keeps a transaction open: the other must be served by one and the same process all the time.

    A pooler gives the free connection that was used last, so the open transaction would take the other client's. Raises LedgerRefused
    when a pooler sits between, and LedgerError.
    """
    lock = server.number("check")
    try:
        async with server.direct() as first, server.direct() as second:
            try:
                async with asyncio.timeout(PROOF_S):
                    served = await _proven(first, second, lock)
            except TimeoutError:
                served = False  # the pooler has no second connection to give
    except psycopg.Error as error:
        raise explained(server.where, error) from error
    if not served:
        raise LedgerRefused(f"ledger {server.where}: {POOLED}")


async def _proven(first: Connection, second: Connection, lock: int) -> bool:
    begun = await (await first.execute(PID)).fetchone()
    taken = await (await first.execute("SELECT pg_try_advisory_lock(%s)", (lock,))).fetchone()
    async with second.transaction():
        other = await (await second.execute(PID)).fetchone()
        again = await (await first.execute(PID)).fetchone()
        if taken == (True,):
            freed = await (await first.execute("SELECT pg_advisory_unlock(%s)", (lock,))).fetchone()
        else:
            freed = (True,)  # another check is under way: the processes tell
    return begun == again != other and freed == (True,)
