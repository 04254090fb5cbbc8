"""PostgreSQL for tests: one server for a run, a database and a role for each test."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests.support.secret import keep_secret
from worker.demo.postgres import PostgresServer

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


def as_documented(name: str, password: str) -> Sequence[Sequence[str]]:
    """What docs/operating.md tells an administrator to say: in any database, and in the new one. Tests have these rights and no others."""
    blocks = re.findall(r"```sql\n(.*?)```", OPERATING.read_text("utf-8"), re.DOTALL)
    return [block.replace("ditio_worker", name).replace("'secret'", f"'{password}'").strip().splitlines() for block in blocks]


@dataclass(frozen=True)
class Database:
    """A database; `url` is that of the role that a worker has."""

    name: str
    role: str
    url: str = field(repr=False)
    server: PostgresServer = field(repr=False)

    async def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What an administrator gets to see, with the worker's schema in the search path."""
        async with await self.admin() as admin:
            cursor = await admin.execute(statement, values or None)
            return await cursor.fetchall() if cursor.description else []

    async def admin(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """An administrator's connection, which the caller closes."""
        options = f"-c search_path={self.role}"
        return await psycopg.AsyncConnection.connect(self.server.url(self.name), autocommit=True, options=options)

    async def cut(self, what: str = "true") -> int:
        """Ends the server's processes that serve the role, and returns how many; `what` is a condition on pg_stat_activity."""
        ended = await self.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND {what}", self.role)
        return len(ended)


@asynccontextmanager
async def database(server: PostgresServer) -> AsyncIterator[Database]:
    """A database and a role, gone at the end."""
    name, password = f"ditio_{uuid4().hex[:12]}", keep_secret(secrets.token_hex(16))
    outside, inside = as_documented(name, password)
    async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as admin:
        for statement in outside:
            await admin.execute(statement)
    try:
        async with await psycopg.AsyncConnection.connect(server.url(name), autocommit=True) as admin:
            for statement in inside:
                await admin.execute(statement)
        yield Database(name, name, server.url(name, name, password), server)
    finally:
        async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as admin:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await admin.execute(f"DROP ROLE {name}")
