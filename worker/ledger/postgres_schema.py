"""The schema of a PostgreSQL ledger: brought up to date and bound by one worker at a time, and looked at by everybody else."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import psycopg

from worker.ledger import postgres_statements as sql
from worker.ledger.entries import Binding, LedgerRefused, NoLedger, SchemaBehind, bound
from worker.ledger.postgres_guards import settle_in
from worker.ledger.postgres_server import Connection, PostgresServer, explained
from worker.ledger.schema import migrations, pending

EXISTS = "SELECT to_regclass(quote_ident(current_schema()) || '.migrations') IS NOT NULL"
APPLIED = "SELECT number, name FROM migrations"
NOTE = "INSERT INTO migrations VALUES (%s, %s, %s)"


async def migrate(connection: Connection, server: PostgresServer, binding: Binding, now: float) -> None:
    """Brings the schema up to date and binds it, in one transaction: workers that start together do it one after the other.

    Raises LedgerRefused for a newer schema, another Ditio's, or a role that may not.
    """
    where = f"ledger {server.where}"
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (server.number("migrations"),))
            for step in pending(migrations("postgres"), await _applied(connection), where):
                await connection.execute(step.sql)
                await connection.execute(NOTE, (step.number, step.name, now))
            kept = bound(await sql.binding(connection), binding, where)
            for pair in msgspec.structs.asdict(kept).items():
                await connection.execute(sql.SET_META, pair)
        await settle_in(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise LedgerRefused(str(explained(server.where, error))) from error
    except psycopg.Error as error:
        raise explained(server.where, error) from error


async def up_to_date(connection: Connection, server: PostgresServer) -> None:
    """Raises NoLedger where there is none, and SchemaBehind or LedgerRefused where its schema is not this version's."""
    where = f"ledger {server.where}"
    try:
        applied = await _applied(connection)
    except psycopg.Error as error:
        raise explained(server.where, error) from error
    if not applied:
        raise NoLedger(f"there is no ledger in {server.where}: no worker with this LEDGER_URL has run yet")
    if pending(migrations("postgres"), applied, where):
        raise SchemaBehind(f"{where} is not of this version's schema yet: start a worker of this version first")


async def _applied(connection: Connection) -> Mapping[int, str]:
    """The numbers and names of the migrations that were done; none in an empty schema."""
    if await (await connection.execute(EXISTS)).fetchone() != (True,):
        return {}
    return dict(await (await connection.execute(APPLIED)).fetchall())
