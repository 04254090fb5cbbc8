"""One work order, one worker at a time, over all workers on one database: also when a worker dies, sleeps or loses its connection."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.ledger.test_ledger import record
from tests.support.pgbouncer import pooled
from tests.support.postgres import Database
from tests.support.waiting import eventually
from worker import ledger
from worker.clock import WallClock
from worker.core.errors import LedgerError
from worker.ledger import LedgerRefused, postgres_direct, postgres_locks
from worker.ledger.postgres import PostgresLedger
from worker.ports import Key, WorkOrder

KEY = Key("p-1", "WO-1")
OTHER = Key("p-1", "WO-2")
ROOT = Path(__file__).parents[2]


class Workers:
    """Workers on one database."""

    def __init__(self, database: Database, stack: AsyncExitStack) -> None:
        self.database = database
        self._stack = stack

    async def start(self) -> PostgresLedger:
        """One more."""
        store = await ledger.open(self.database.url, api_base="a", company_id="c", clock=WallClock())
        assert isinstance(store, PostgresLedger)
        self._stack.push_async_callback(store.close)
        return store

    async def held(self) -> int:
        """How many locks the server knows of."""
        ((number,),) = await self.database.ask(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return int(number)


@pytest.fixture
async def workers(postgres: Database) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(postgres, stack)


async def take(store: PostgresLedger, key: Key) -> asyncio.Task[None]:
    """A task that holds a work order's lock until it is cancelled."""
    taken = asyncio.Event()

    async def keep() -> None:
        async with store.hold(key):
            taken.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(keep())
    await asyncio.wait_for(taken.wait(), 10)
    return task


async def let_go(task: asyncio.Task[None]) -> None:
    """Ends what `take` began."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_work_order_that_another_worker_has_is_waited_for_and_others_are_not(workers: Workers) -> None:
    # Given
    one, other = await workers.start(), await workers.start()
    held = await take(one, KEY)
    # When
    contended = asyncio.ensure_future(take(other, KEY))
    free = await asyncio.wait_for(take(other, OTHER), 5)
    # Then
    assert not contended.done()
    await let_go(held)
    await let_go(await asyncio.wait_for(contended, 5))
    await let_go(free)


async def test_who_waits_stands_aside_and_does_not_ask_the_server_all_the_time(workers: Workers) -> None:
    # Given fifty work orders that another worker has
    one, other = await workers.start(), await workers.start()
    keys = [Key("p", f"WO-{number}") for number in range(50)]
    held = await asyncio.gather(*(take(one, key) for key in keys))
    before = other.round_trips
    aside = 0

    @asynccontextmanager
    async def standing_aside() -> AsyncIterator[None]:
        nonlocal aside
        aside += 1
        yield
        aside -= 1

    async def wait_for(key: Key) -> None:
        async with other.hold(key, standing_aside):
            pass

    # When
    waiting = [asyncio.ensure_future(wait_for(key)) for key in keys]
    await eventually(lambda: aside == 50)
    await asyncio.sleep(1.0)
    # Then the server was asked a few times for all of them together
    assert other.round_trips - before < 60
    # And all get their turn
    for task in held:
        await let_go(task)
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert aside == 0


async def test_a_lock_is_given_back_when_standing_aside_fails_at_its_end(workers: Workers) -> None:
    # Given
    one, other = await workers.start(), await workers.start()
    held, aside = await take(one, KEY), asyncio.Event()

    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        aside.set()
        yield
        raise LedgerError("no note")

    async def wait_for() -> None:
        async with other.hold(KEY, failing):
            pass

    waiting = asyncio.ensure_future(wait_for())
    await aside.wait()
    # When
    await let_go(held)
    with pytest.raises(LedgerError, match="no note"):
        await waiting
    # Then
    await let_go(await asyncio.wait_for(take(one, KEY), 5))


async def test_locks_are_taken_and_given_back_many_in_one_round_trip(workers: Workers) -> None:
    store = await workers.start()
    before = store.round_trips
    held = await asyncio.gather(*(take(store, Key("p", str(number))) for number in range(200)))
    assert store.round_trips - before == 1
    assert await workers.held() == 200
    await asyncio.gather(*(let_go(task) for task in held))
    await let_go(await take(store, KEY))
    assert store.round_trips - before <= 5
    assert await eventually_free(workers)


async def eventually_free(workers: Workers) -> bool:
    for _ in range(200):
        if await workers.held() == 0:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_giving_up_waiting_leaves_no_lock_behind(workers: Workers) -> None:
    # Given
    store, other = await workers.start(), await workers.start()

    async def keep() -> None:
        async with store.hold(KEY):
            await asyncio.Event().wait()

    # When it is given up at any moment before, while and after the server answers
    for turns in range(60):
        task = asyncio.ensure_future(keep())
        for _ in range(turns):
            await asyncio.sleep(0)
        await let_go(task)
    # Then
    assert await eventually_free(workers)
    await let_go(await asyncio.wait_for(take(other, KEY), 10))


async def test_giving_up_in_the_moment_of_the_answer_leaves_no_lock_behind(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given somebody who is gone when the answer is there, and has not seen it
    store = await workers.start()
    answer = store._locks._answer

    def answer_and_cancel(wish: postgres_locks.Wish, session: postgres_locks.Session | None) -> None:
        answer(wish, session)
        task.cancel()

    monkeypatch.setattr(store._locks, "_answer", answer_and_cancel)

    async def keep() -> None:
        async with store.hold(KEY):
            raise AssertionError("not reached")

    # When
    task = asyncio.ensure_future(keep())
    await asyncio.gather(task, return_exceptions=True)
    monkeypatch.undo()
    # Then
    assert task.cancelled()
    assert await eventually_free(workers)


async def test_a_worker_whose_connection_is_cut_is_told_before_its_next_call_and_another_goes_on(workers: Workers) -> None:
    # Given
    one, other = await workers.start(), await workers.start()
    async with one.hold(KEY):
        await one.load(KEY)
        one.assure(KEY)
        contended = asyncio.ensure_future(take(other, KEY))
        # When the server loses the connection that holds the lock
        assert await workers.database.cut(holds_locks()) == 1
        # Then the one is told, and cannot commit
        await eventually(lambda: lost(one, KEY), 2)
        with pytest.raises(LedgerError, match="lock on work order WO-1 was lost"):
            await one.commit(WorkOrder(KEY, task_id="t-late"))
        # And the other has it
        taken = await asyncio.wait_for(contended, 5)
    assert (await other.load(KEY)).task_id is None
    await let_go(taken)
    # And the one takes locks again
    await let_go(await asyncio.wait_for(take(one, KEY), 5))


def holds_locks() -> str:
    return "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock')"


def lost(store: PostgresLedger, key: Key) -> bool:
    try:
        store.assure(key)
    except LedgerError:
        return True
    return False


async def test_the_commit_of_a_worker_that_does_not_know_yet_is_refused_and_its_record_is_not_stored(workers: Workers) -> None:
    # Given a worker that hears nothing of its lock's connection
    one, other = await workers.start(), await workers.start()
    async with one.hold(KEY):
        order = await one.load(KEY)
        await one.commit(WorkOrder(KEY, record(5, name="a"), "t-1"))
        worker = one._locks._worker
        assert worker is not None
        worker.cancel()
        # When that is cut, and another worker takes the work order up
        assert await workers.database.cut(holds_locks()) == 1
        async with other.hold(KEY):
            await other.load(KEY)
            one.assure(KEY)
            # Then, alone
            with pytest.raises(LedgerError, match="another worker has taken up work order WO-1"):
                await one.commit(WorkOrder(KEY, record(9, name="late"), "t-late"))
            # And among others, that are stored
            late, fine = await asyncio.gather(
                one.commit(WorkOrder(KEY, record(9, name="late"), "t-late", parent=order.parent)),
                one.commit(WorkOrder(OTHER, task_id="t-2")),
                return_exceptions=True,
            )
            assert isinstance(late, LedgerError)
            assert "another worker has taken up work order WO-1" in str(late)
            assert fine is None
            await other.commit(WorkOrder(KEY, record(7, name="b"), "t-1"))
    known = await other.load(KEY)
    assert (known.task_id, known.record.cells["name"].value) == ("t-1", "b")
    assert (await other.load(OTHER)).task_id == "t-2"


async def test_a_worker_that_dies_leaves_its_work_orders_to_others_at_once(workers: Workers) -> None:
    # Given
    store = await workers.start()
    with holder(workers.database) as process:
        contended = asyncio.ensure_future(take(store, KEY))
        await asyncio.sleep(0.1)
        assert not contended.done()
        # When
        process.kill()
        # Then
        await let_go(await asyncio.wait_for(contended, 5))


async def test_a_worker_that_sleeps_loses_its_work_orders_and_commits_nothing_when_it_wakes(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setattr(postgres_locks, "IDLE_S", 1.0)
    store = await workers.start()
    with holder(workers.database) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # When it is stopped, longer than the server waits for it
        process.send_signal(signal.SIGSTOP)
        taken = await asyncio.wait_for(take(store, KEY), 10)
        await store.load(KEY)
        await store.commit(WorkOrder(KEY, record(9, name="b"), "t-1"))
        process.send_signal(signal.SIGCONT)
        process.stdin.write(b"go\n")
        process.stdin.flush()
        # Then
        said = await asyncio.to_thread(process.stdout.readline)
    assert said.startswith(b"refused: ")
    assert (await store.load(KEY)).task_id == "t-1"
    await let_go(taken)


HOLDER = textwrap.dedent(
    """
    import asyncio, sys
    from worker import ledger
    from worker.clock import WallClock
    from worker.core.errors import LedgerError
    from worker.ledger import postgres_locks
    from worker.ports import Key, WorkOrder

    postgres_locks.IDLE_S = 1.0
    KEY = Key("p-1", "WO-1")

    async def main():
        store = await ledger.open(sys.stdin.readline().strip(), api_base="a", company_id="c", clock=WallClock())
        async with store.hold(KEY):
            await store.load(KEY)
            print("held", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            try:
                await store.commit(WorkOrder(KEY, task_id="t-late"))
                print("committed", flush=True)
            except LedgerError as error:
                print(f"refused: {error}", flush=True)

    asyncio.run(main())
    """
)


@contextmanager
def holder(database: Database) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock on KEY, and commits when it is told to."""
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{database.url}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


async def test_what_sleeps_less_than_that_keeps_its_lock(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_locks, "IDLE_S", 0.6)
    store = await workers.start()
    async with store.hold(KEY):
        await asyncio.sleep(1.5)
        store.assure(KEY)
        assert await workers.held() == 1


async def test_a_lock_that_cannot_be_had_because_the_server_is_gone_is_an_error(workers: Workers) -> None:
    store = await workers.start()
    await let_go(await take(store, KEY))
    await workers.database.ask(f"ALTER ROLE {workers.database.role} NOLOGIN")
    await workers.database.cut()
    for _ in range(2):
        with pytest.raises(LedgerError, match="ledger ditio_"):
            async with store.hold(KEY):
                pass
    await workers.database.ask(f"ALTER ROLE {workers.database.role} LOGIN")
    await let_go(await take(store, KEY))


async def test_a_closed_ledger_gives_no_locks_and_keeps_none(workers: Workers) -> None:
    store = await workers.start()
    held = await take(store, KEY)
    await store.close()
    with pytest.raises(LedgerError, match="closed"):
        async with store.hold(OTHER, nullcontext):
            pass
    assert await eventually_free(workers)
    await let_go(held)


async def test_workers_that_fight_for_few_work_orders_never_have_one_at_the_same_time(workers: Workers) -> None:
    # Given
    stores = [await workers.start() for _ in range(3)]
    keys = [Key("p", f"WO-{number}") for number in range(4)]
    inside: dict[Key, int] = dict.fromkeys(keys, 0)
    turns = 0

    async def work(store: PostgresLedger, key: Key) -> None:
        nonlocal turns
        for _ in range(6):
            async with store.hold(key):
                inside[key] += 1
                assert inside[key] == 1
                order = await store.load(key)
                await store.commit(WorkOrder(key, task_id=f"t-{int((order.task_id or 't-0')[2:]) + 1}"))
                inside[key] -= 1
            turns += 1

    # When
    await asyncio.wait_for(asyncio.gather(*(work(store, key) for store in stores for key in keys)), 60)
    # Then nobody wrote over anybody
    assert turns == 72
    assert [(await stores[0].load(key)).task_id for key in keys] == ["t-18"] * 4


async def test_a_pooler_that_changes_connections_between_transactions_is_refused(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_direct, "PROOF_S", 1.0)
    with pooled(workers.database) as url:
        for mode, url_of_mode in url.items():
            opening = ledger.open(url_of_mode, api_base="a", company_id="c", clock=WallClock())
            if mode == "session":
                await (await opening).close()
            else:
                with pytest.raises(LedgerRefused, match="hands out its connections anew for each transaction"):
                    await opening
