"""What only several workers can show: whose notes count, who has fallen, who runs, and what one worker finds that another did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.ledger.conftest import StoppedClock
from tests.ledger.test_ledger import record
from tests.support.postgres import Database
from tests.support.waiting import eventually
from worker import ledger
from worker.core.caution import Standing
from worker.core.record import Record
from worker.ledger import Run
from worker.ledger.postgres import PostgresLedger
from worker.ports import Key, WorkOrder

KEY = Key("p-1", "WO-1")


class Workers:
    """Workers' ledgers in one database, on one clock."""

    def __init__(self, database: Database, stack: AsyncExitStack) -> None:
        self.database, self._stack, self.clock = database, stack, StoppedClock()

    async def start(self) -> PostgresLedger:
        """One more."""
        store = await ledger.open(self.database.url, api_base="a", company_id="c", clock=self.clock)
        assert isinstance(store, PostgresLedger)
        self._stack.push_async_callback(store.close)
        return store

    async def fall(self, store: PostgresLedger) -> None:
        """Its process ends: the server loses its connections."""
        worker = store._locks._worker
        assert worker is not None
        worker.cancel()
        await self.database.cut(
            "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            f" AND (classid::bigint << 32 | objid::bigint) = {store._locks.life})"
        )


@pytest.fixture
async def workers(postgres: Database) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(postgres, stack)


async def test_the_note_of_a_worker_that_lives_counts_only_once_it_has_fallen(workers: Workers) -> None:
    # Given
    one, other = await workers.start(), await workers.start()
    await one.note("m-1", "w-1")
    # Then it is suspect, but nothing is held against it
    assert (await other.suspects()).marks == {"m-1"}
    assert await other.standing("m-1", "w-2") == Standing()
    # When
    await workers.fall(one)

    # Then
    async def counts() -> bool:
        return await other.standing("m-1", "w-2") == Standing(1)

    async with asyncio.timeout(5):
        while not await counts():
            await asyncio.sleep(0.01)


async def test_a_worker_whose_connection_is_cut_is_soon_known_to_live_again(workers: Workers) -> None:
    # Given
    one, other = await workers.start(), await workers.start()
    one._locks._idle_s = 0.3
    await one.note("m-1", "w-1")
    session = one._locks._session
    assert session is not None
    # When
    await workers.database.cut(f"pid = {session.connection.info.backend_pid}")
    await eventually(lambda: one._locks._session not in (None, session), 5)
    # Then
    assert await other.standing("m-1", "w-2") == Standing()


async def test_who_starts_soon_after_a_fall_is_told_of_it_and_of_an_end_in_order_else(workers: Workers) -> None:
    # Given two that end in order while a third runs
    third = await workers.start()
    await third.arrive()
    for _ in range(2):
        store = await workers.start()
        await store.arrive()
        await store.leave()
        await store.close()
    # Then
    assert await (await workers.start()).arrive(), "one that lives has not fallen"
    # When
    await third.close()
    # Then all who start are told, for a while
    assert not await (await workers.start()).arrive()
    assert not await (await workers.start()).arrive()
    workers.clock.at += 601
    assert await (await workers.start()).arrive()


async def test_who_lives_is_known_to_all_whether_others_end_in_order_fall_or_are_not_workers(workers: Workers) -> None:
    # Given three workers, and an operator's command
    one, other, last = [await workers.start() for _ in range(3)]
    beside = await ledger.open_beside(workers.database.url, clock=workers.clock)
    for number, store in enumerate((one, other, last)):
        await store.arrive()
        assert await one.living() == number + 1
    await beside.with_external_id("WO-1")
    assert await last.living() == 3
    await beside.close()
    # When
    await other.leave()
    # Then
    assert await one.living() == 2
    # When
    await workers.fall(last)
    # Then
    async with asyncio.timeout(5):
        while await one.living() != 1:
            await asyncio.sleep(0.01)


async def test_of_those_that_run_only_the_newest_is_told_and_who_fell_is_told_always(workers: Workers) -> None:
    # Given
    one, other, last = [await workers.start() for _ in range(3)]
    for store in (one, other, last):
        workers.clock.at += 10
        await store.begin_run()
    began = workers.clock.at
    # Then
    assert await last.runs(0) == [Run(began, None)]
    # When
    await one.close()
    await other.end_run()
    # Then
    assert await last.runs(0) == [Run(began, None), Run(began - 10, began), Run(began - 20, None)]


async def test_two_workers_count_one_row_of_harms(workers: Workers) -> None:
    stores = [await workers.start() for _ in range(2)]
    allowed = await asyncio.gather(*(stores[number % 2].spend([f"h-{number}", "h-same"], 10) for number in range(20)))
    assert sum(allowed) == 9, "nine, and the one that all share"
    assert all([await store.paused() for store in stores])


async def test_a_ledger_that_lies_elsewhere_is_compared_and_what_was_written_meanwhile_is_left_alone(workers: Workers) -> None:
    # Given
    one, other = await workers.start(), await workers.start()
    for number in (1, 2):
        await one.commit(WorkOrder(Key("p-1", f"WO-{number}"), record(1, name="old"), "t"))
    assert not await one.restored()
    # When it was put back: its tables are others than those that it says it lies in
    await workers.database.ask("UPDATE meta SET value = 'elsewhere' WHERE key = 'home' RETURNING 1")
    # Then
    assert await one.restored()
    assert await other.restored()
    orders = await other.of_project("p-1")
    await one.of_project("p-1")
    await one.rebase([WorkOrder(KEY, record(1, name="shown"), "t-1")])
    await one.believe()
    await other.rebase([WorkOrder(order.key, record(1, name="late"), "t-2") for order in orders])
    assert [(await one.load(order.key)).record for order in orders] == [record(1, name="shown"), record(1, name="late")]
    assert not await other.restored()
    # And who remembers what it was commits upon what it is
    await one.commit(WorkOrder(KEY, Record(), "t-3"))
    assert (await other.load(KEY)).record == record(1, name="shown")


async def test_a_restored_dump_is_noticed_also_in_the_same_database(workers: Workers) -> None:
    # Given
    store, server = await workers.start(), workers.database.server
    await store.commit(WorkOrder(KEY, record(1, name="then"), "t"))
    schema, database = workers.database.role, workers.database.name
    dump = server.run("pg_dump", "--schema", schema, server.url(database))
    await store.commit(WorkOrder(KEY, record(2, name="since"), "t"))
    await store.close()
    # When
    await workers.database.ask(f"DROP SCHEMA {schema} CASCADE")
    server.run("psql", "--set", "ON_ERROR_STOP=1", "--quiet", server.url(database), given=dump)
    # Then
    store = await workers.start()
    assert (await store.load(KEY)).record == record(1, name="then")
    assert await store.restored()
    await store.believe()
    assert not await store.restored()


async def test_an_empty_ledger_that_lies_elsewhere_needs_no_comparison(workers: Workers) -> None:
    store = await workers.start()
    await workers.database.ask("UPDATE meta SET value = 'elsewhere' WHERE key = 'home' RETURNING 1")
    assert not await store.restored()
    await store.commit(WorkOrder(KEY))
    assert not await store.restored()


async def test_proving_writes(workers: Workers) -> None:
    store = await workers.start()
    await store.prove()
    assert await workers.database.ask("SELECT value FROM meta WHERE key = 'proved'") == [(str(workers.clock.at),)]
