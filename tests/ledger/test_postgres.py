"""What only the ledger in PostgreSQL can do, or suffer."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import Shelf, StoppedClock, migrate_further
from tests.ledger.test_ledger import line, record
from tests.support.histories import records
from tests.support.postgres import Database, database
from worker import ledger
from worker.core.errors import LedgerError
from worker.core.record import Record, merge_all
from worker.demo.postgres import PostgresServer
from worker.ledger import LedgerRefused, Store, postgres_groups, postgres_server
from worker.ledger.postgres import PostgresLedger
from worker.ledger.schema import migrations
from worker.ports import Key, WorkOrder

KEY = Key("p-1", "WO-1")
NUMBERS = itertools.count()


@pytest.fixture
async def shelf(postgres: Database, tmp_path: Path) -> AsyncIterator[Shelf]:
    async with AsyncExitStack() as stack:
        yield Shelf("postgres", tmp_path, stack, database=postgres)


async def opened(shelf: Shelf) -> PostgresLedger:
    store = await shelf.open()
    assert isinstance(store, PostgresLedger)
    return store


async def open_at(url: str, clock: StoppedClock) -> Store:
    return await ledger.open(url, api_base="https://ditio.example/core", company_id="c-1", clock=clock)


# --- schema and rights


def test_migrations_are_numbered_without_gaps() -> None:
    assert [each.number for each in migrations("postgres")] == list(range(1, len(migrations("postgres")) + 1))


async def test_workers_that_start_together_make_one_schema(shelf: Shelf, postgres: Database) -> None:
    stores = await asyncio.gather(*(shelf.open() for _ in range(5)))
    assert [await store.binding() for store in stores] == [await stores[0].binding()] * 5
    assert await postgres.ask("SELECT number FROM migrations ORDER BY 1") == [(each.number,) for each in migrations("postgres")]


async def test_a_newer_schema_is_refused_with_a_sentence(shelf: Shelf, postgres: Database) -> None:
    await (await shelf.open()).close()
    await postgres.ask("INSERT INTO migrations VALUES (999, '999_future', 0)")
    with pytest.raises(LedgerRefused, match=r"written by a newer ditio-worker \(its schema is 999.*run that version"):
        await shelf.open()


async def test_a_newer_worker_s_additions_stop_neither_those_that_run_nor_those_that_start(
    shelf: Shelf, postgres: Database
) -> None:
    # Given
    running = await shelf.open()
    await running.commit(WorkOrder(KEY, record(1, name="a"), "t"))
    # When a worker of the next version has migrated the schema
    await migrate_further(postgres)
    # Then
    await running.commit(WorkOrder(KEY, record(2, name="b"), "t"))
    starting = await shelf.open()
    assert (await starting.load(KEY)).record == record(2, name="b")
    await starting.commit(WorkOrder(KEY, record(3, name="c"), "t"))
    assert (await running.load(KEY)).record == record(3, name="c")


async def test_a_role_without_a_schema_of_its_own_is_told_what_to_ask_for(shelf: Shelf, postgres: Database) -> None:
    await postgres.ask(f"DROP SCHEMA {postgres.role}")
    with pytest.raises(LedgerRefused, match="CREATE SCHEMA ditio_worker AUTHORIZATION ditio_worker"):
        await shelf.open()


async def test_a_role_that_may_not_create_tables_is_told_that_it_lacks_a_right(shelf: Shelf, postgres: Database) -> None:
    await postgres.ask(f"ALTER SCHEMA {postgres.role} OWNER TO postgres")
    await postgres.ask(f"GRANT USAGE ON SCHEMA {postgres.role} TO {postgres.role}")
    with pytest.raises(LedgerRefused, match="lacks a right"):
        await shelf.open()


async def test_a_worker_s_role_can_do_nothing_outside_its_schema(shelf: Shelf, postgres: Database) -> None:
    store = await opened(shelf)
    async with store._server.direct() as connection:
        for statement in ("CREATE TABLE public.x ()", "CREATE TEMP TABLE x ()", "CREATE SCHEMA x", "CREATE ROLE x"):
            with pytest.raises(LedgerError, match="lacks a right"):
                async with store._server.connection() as pooled:
                    await pooled.execute(statement)
        row = await (await connection.execute("SHOW synchronous_commit")).fetchone()
    assert row == ("on",)


async def test_an_address_that_is_none_is_refused_without_repeating_it(shelf: Shelf) -> None:
    with pytest.raises(LedgerRefused, match="cannot read this address") as refused:
        await ledger.open("postgresql://u:s3cret@h/db?nonsense=1", api_base="a", company_id="c", clock=shelf.clock)
    assert "s3cret" not in str(refused.value)


async def test_a_wrong_password_is_an_error_in_words(shelf: Shelf, postgres: Database) -> None:
    url = postgres.server.url(postgres.name, postgres.role, "wrong")
    with pytest.raises(LedgerError, match="password authentication failed"):
        await open_at(url, shelf.clock)


async def test_commands_read_and_pause_beside_running_workers_and_reading_writes_nothing(
    shelf: Shelf, postgres: Database
) -> None:
    # Given
    with pytest.raises(LedgerRefused, match="there is no ledger in"):
        await ledger.open_read_only(postgres.url, clock=shelf.clock)
    store = await shelf.open()
    await store.commit(WorkOrder(KEY, task_id="t-1"))
    reader = await ledger.open_read_only(postgres.url, clock=shelf.clock)
    beside = await ledger.open_beside(postgres.url, clock=shelf.clock)
    # When
    await beside.pause("vedlikehold", "drift")
    # Then
    assert (await reader.load(KEY)).task_id == "t-1"
    assert await store.paused() == await reader.paused() is not None
    assert isinstance(reader, PostgresLedger)
    with pytest.raises(LedgerError, match="takes no writes"):
        await reader.commit(WorkOrder(KEY))
    await reader.close()
    await beside.close()


# --- groups


async def test_what_waits_goes_in_one_round_trip(shelf: Shelf) -> None:
    # Given 300 work orders that were read
    store = await opened(shelf)
    keys = [Key("p", f"WO-{number}") for number in range(300)]
    await asyncio.gather(*(store.load(key) for key in keys))
    before = store.round_trips
    # When
    commits = (store.commit(WorkOrder(key, record(5, name="x")), [line(1, "e")]) for key in keys)
    seen = (store.first_seen("/erp", key.external_id, 7) for key in keys[:100])
    await asyncio.gather(*commits, *seen, *(store.load(Key("q", key.external_id)) for key in keys[:100]))
    # Then
    assert store.round_trips - before == 1
    assert await store.work_orders() == 300


async def test_under_load_an_event_costs_a_fifth_of_a_round_trip_with_its_locks(shelf: Shelf) -> None:
    # Given work that takes Ditio 20 ms, on 64 work orders at once, all of them new
    store, in_hand, events = await opened(shelf), asyncio.Semaphore(64), 1_500

    async def handle(number: int) -> None:
        await store.first_seen("/erp", f"e-{number}", number)
        async with in_hand, store.hold(key := Key("p", f"WO-{number // 2 % 750}-{number % 2}")):
            order = await store.load(key)
            if order.task_id is None:
                await store.commit(msgspec.structs.replace(order, doubt_until=1.0))
            await asyncio.sleep(0.02)
            await store.commit(msgspec.structs.replace(order, task_id="t", record=record(number, name="x")), [line(number, "e")])

    # When
    await asyncio.gather(*(handle(number) for number in range(events)))
    # Then
    assert store.round_trips / events <= 0.2


async def test_what_only_one_write_is_to_blame_for_the_others_do_not_hear_of(shelf: Shelf) -> None:
    store = await shelf.open()
    writes = [store.first_seen("/erp", f"e-{number}", 2**80 if number == 5 else number) for number in range(10)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results[5], LedgerError)
    assert [each for place, each in enumerate(results) if place != 5] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert await store.first_seen("/erp", "e-9", 99) == 9


async def test_a_group_that_was_computed_from_what_another_has_changed_leaves_nothing_and_is_done_again(shelf: Shelf) -> None:
    # Given two workers that have read the same work order, and one that writes it
    one, other = await opened(shelf), await opened(shelf)
    await one.commit(WorkOrder(KEY, record(5, name="a")))
    await other.load(KEY)
    await one.commit(WorkOrder(KEY, record(9, name="b"), "t-1"), [line(1, "e-1")])
    # When the other writes it among more
    before = other.round_trips
    await other.load(Key("p", "WO-2"))
    await asyncio.gather(
        other.commit(WorkOrder(KEY, record(7, name="c", price="1"), "t-1"), [line(2, "e-2")]),
        other.commit(WorkOrder(Key("p", "WO-2")), [line(2, "e-3")]),
        other.first_seen("/erp", "e-2", 2),
    )
    # Then both changes are there, and each line of history once
    known = await one.load(KEY)
    assert {name: cell.value for name, cell in known.record.cells.items()} == {"name": "b", "price": "1"}
    assert [each.id for each in await one.history(KEY)] == ["e-1", "e-2"]
    assert [each.id for each in await one.history(Key("p", "WO-2"))] == ["e-3"]
    assert other.round_trips - before == 1 + 1 + 2


async def test_writing_what_another_has_changed_works_again_and_again(shelf: Shelf) -> None:
    # Given two workers that write the same work order in turn, without its lock
    one, other = await opened(shelf), await opened(shelf)
    for turn in range(15):
        await one.commit(WorkOrder(KEY), [line(turn, f"one-{turn}")])
        await other.commit(WorkOrder(KEY), [line(turn, f"other-{turn}")])
    # Then each line is there once, also when statements that were undone would have been prepared
    assert [each.id for each in await one.history(KEY)] == [f"{who}-{turn}" for turn in range(15) for who in ("one", "other")]


async def test_workers_that_owe_to_each_other_s_work_orders_do_not_wait_for_each_other(shelf: Shelf, postgres: Database) -> None:
    # Given twelve work orders, each worker's own four
    stores, chance = [await opened(shelf) for _ in range(3)], random.Random(7)
    keys = [Key("p", f"WO-{number:02}") for number in range(12)]
    moves = 0

    async def work(store: Store, own: Sequence[Key]) -> None:
        nonlocal moves
        for _ in range(25):
            orders = await asyncio.gather(*(store.load(key) for key in own))
            above = [chance.choice([key for key in keys if key not in own]).external_id for _ in own]
            moves += sum((order.parent is not None) + 1 for order, to in zip(orders, above, strict=True) if order.parent != to)
            moved = (msgspec.structs.replace(order, parent=to) for order, to in zip(orders, above, strict=True))
            await asyncio.gather(*(store.commit(order) for order in moved))

    # When each moves its own from one to another of the others', many at once
    await asyncio.gather(*(work(store, keys[worker::3]) for worker, store in enumerate(stores)))
    # Then nothing that was caused is lost, and the server had to end no deadlock
    assert sum([(await stores[0].load(key)).owed for key in keys]) == moves
    for store in stores:
        await store.close()  # which makes the server count
    assert await postgres.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


@pytest.fixture
def looped(postgres_server: PostgresServer) -> Iterator[Database]:
    """For tests that have event loops of their own."""
    with asyncio.Runner() as runner:
        made = database(postgres_server)
        yield runner.run(made.__aenter__())
        runner.run(made.__aexit__(None, None, None))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(records(), min_size=1, max_size=5), order=st.randoms(use_true_random=False))
def test_the_order_of_commits_makes_no_difference(looped: Database, said: list[Record], order: random.Random) -> None:
    async def committed(parts: list[Record]) -> Record:
        store = await open_at(looped.url, StoppedClock())
        key = Key("p", f"WO-{next(NUMBERS)}")
        await asyncio.gather(*(store.commit(WorkOrder(key, part)) for part in parts))
        stored = (await store.load(key)).record
        await store.close()
        return stored

    assert asyncio.run(committed(order.sample(said, len(said)))) == merge_all(said)


# --- a server that is gone


async def test_a_server_that_is_gone_is_an_error_and_when_it_is_back_all_goes_on(
    own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_server, "CONNECT_S", 1)
    async with database(own_postgres) as own:
        store = await open_at(own.url, StoppedClock())
        await store.commit(WorkOrder(KEY, record(5, name="a"), "t-1"), [line(1, "e-1")])
        for crash in (False, True):
            # When
            await asyncio.to_thread(own_postgres.stop, crash=crash)
            # Then every method says so
            calls = (
                store.load(KEY),
                store.commit(WorkOrder(KEY)),
                store.first_seen("/erp", "e", 1),
                store.next_due(),
                store.paused(),
            )
            said = await asyncio.gather(*calls, return_exceptions=True)
            assert [str(each) for each in said if isinstance(each, LedgerError) and "ledger ditio_" in str(each)] == [
                str(each) for each in said
            ]
            # When
            await asyncio.to_thread(own_postgres.start)
            # Then nothing that was answered is lost, and nothing was half done
            await eventually_works(store)
            assert (await store.load(KEY)).task_id == "t-1"
            assert [each.id for each in await store.history(KEY)] == ["e-1"]
        await store.close()


async def eventually_works(store: Store) -> None:
    """The ledger's probe, until it succeeds."""

    async def probe() -> bool:
        try:
            await store.next_due()
        except LedgerError:
            return False
        return True

    for _ in range(100):
        if await probe():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the ledger does not come back")


async def test_connections_that_were_cut_fail_once_at_most(shelf: Shelf, postgres: Database) -> None:
    # Given several connections
    store = await opened(shelf)
    await asyncio.gather(*(store.next_due() for _ in range(20)))
    # When all are cut
    assert await postgres.cut() >= 1
    with pytest.raises(LedgerError):
        await store.load(KEY)
    # Then the next finds others
    await eventually_works(store)
    await asyncio.gather(*(store.load(Key("p", str(number))) for number in range(20)), *(store.next_due() for _ in range(20)))


async def test_a_server_that_does_not_answer_is_given_up_and_what_it_does_later_it_does_wholly_or_not_at_all(
    shelf: Shelf, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a commit that waits for somebody else's lock
    monkeypatch.setattr(postgres_server, "ANSWER_S", 0.3)
    store = await opened(shelf)
    await store.commit(WorkOrder(KEY))
    async with await postgres.admin() as admin, admin.transaction():
        await admin.execute("SELECT 1 FROM work_orders FOR UPDATE")
        # When
        with pytest.raises(LedgerError):
            await store.commit(WorkOrder(KEY, task_id="t-1"), [line(1, "e-1")])
        with pytest.raises(LedgerError):
            await store.commit(WorkOrder(KEY, task_id="t-2"), [line(2, "e-2")])
    # Then one of them may be done now, and the other is computed from what is no more
    while await postgres.ask("SELECT 1 FROM pg_stat_activity WHERE usename = %s AND state = 'active'", postgres.role):
        await asyncio.sleep(0.02)
    await store.commit(msgspec.structs.replace(await store.load(KEY), doubt_until=5.0), [line(3, "e-3")])
    known, lines = await store.load(KEY), [each.id for each in await store.history(KEY)]
    assert (known.task_id, lines) in [(None, ["e-3"]), ("t-1", ["e-1", "e-3"]), ("t-2", ["e-2", "e-3"])]


async def test_a_server_that_became_a_standby_is_left_for_the_one_that_takes_writes(
    shelf: Shelf, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setattr(postgres_server, "CONNECT_S", 1)
    store = await opened(shelf)
    await store.load(KEY)
    # When
    await postgres.ask(f"ALTER ROLE {postgres.role} SET default_transaction_read_only = on")
    await postgres.cut()
    with pytest.raises(LedgerError):
        await store.commit(WorkOrder(KEY, task_id="t-1"))
    with pytest.raises(LedgerError, match=r"read-only|cannot be reached|takes no writes"):
        await store.commit(WorkOrder(KEY, task_id="t-1"))
    # Then
    await postgres.ask(f"ALTER ROLE {postgres.role} SET default_transaction_read_only = off")
    await eventually_works(store)
    await store.commit(WorkOrder(KEY, task_id="t-1"))
    assert (await store.load(KEY)).task_id == "t-1"


async def test_giving_up_waiting_does_not_hold_up_others(shelf: Shelf) -> None:
    store = await opened(shelf)
    given_up = asyncio.ensure_future(store.commit(WorkOrder(KEY, task_id="t-1")))
    await asyncio.sleep(0)
    given_up.cancel()
    await store.commit(WorkOrder(Key("p", "WO-2")))
    assert (await store.load(KEY)).task_id == "t-1"


async def test_what_is_remembered_is_bounded(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_groups, "MOST_REMEMBERED", 10)
    store = await opened(shelf)
    await asyncio.gather(*(store.load(Key("p", str(number))) for number in range(50)))
    assert len(store._groups._remembered) == 10
    await store.commit(WorkOrder(Key("p", "0"), task_id="t"))
    assert (await store.load(Key("p", "0"))).task_id == "t"
