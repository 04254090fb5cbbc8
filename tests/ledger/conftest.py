"""Ledgers of all kinds, opened and reopened alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.postgres import Database, database
from worker import ledger
from worker.ledger import Store
from worker.ledger.memory import Contents, MemoryLedger


@dataclass
class StoppedClock:
    """A clock that stands where it is put."""

    at: float = 1_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds

    def chance(self) -> float:
        return 0.5


@dataclass
class Shelf:
    """A place for one ledger, of one kind."""

    kind: str
    folder: Path
    stack: AsyncExitStack
    clock: StoppedClock = field(default_factory=StoppedClock)
    contents: Contents = field(default_factory=Contents)
    database: Database | None = None

    async def open(self, *, api_base: str = "https://ditio.example/core", company_id: str = "c-1") -> Store:
        """The ledger, as a worker opens it."""
        store: Store
        if self.kind == "memory":
            store = MemoryLedger(self.contents, api_base=api_base, company_id=company_id, clock=self.clock)
        else:
            store = await ledger.open(self.url, api_base=api_base, company_id=company_id, clock=self.clock)
        self.stack.push_async_callback(store.close)
        return store

    @property
    def url(self) -> str | Path:
        """Where a ledger is that is not in memory."""
        return self.database.url if self.database is not None else self.path

    @property
    def path(self) -> Path:
        """The file of a ledger that has one."""
        return self.folder / "data" / "ledger.db"


@pytest.fixture(params=["sqlite", "memory", "postgres", "postgres of the next version"])
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    async with AsyncExitStack() as stack:
        shelf = Shelf(request.param, tmp_path, stack)
        if "postgres" in request.param:
            shelf.database = await stack.enter_async_context(database(request.getfixturevalue("postgres_server")))
        if "next version" in request.param:
            await (await shelf.open()).close()
            await migrate_further(shelf.database, empty=True)
        yield shelf


async def migrate_further(database: Database | None, *, empty: bool = False) -> None:
    """Does to a schema what the step of a later version may: every table has one column more, and there is one table more."""
    assert database is not None
    tables = [name for (name,) in await database.ask("SELECT tablename FROM pg_tables WHERE schemaname = %s", database.role)]
    for table in tables:
        await database.ask(f"ALTER TABLE {table} ADD COLUMN later text DEFAULT 'x' NOT NULL")
        if empty and table != "migrations":
            await database.ask(f"TRUNCATE {table}")
    await database.ask(f"CREATE TABLE later (id int); ALTER TABLE later OWNER TO {database.role}")
    await database.ask("INSERT INTO migrations VALUES (999, '999_add_later', 0)")


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with AsyncExitStack() as stack:
        yield Shelf("sqlite", tmp_path, stack)
