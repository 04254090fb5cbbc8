"""What only the ledger in a file can do, or suffer."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import Shelf, StoppedClock
from tests.support.histories import records
from worker import ledger
from worker.core.errors import LedgerError
from worker.core.record import Record, merge_all
from worker.ledger import LedgerRefused
from worker.ledger.schema import migrations
from worker.ledger.sqlite import SqliteLedger
from worker.ports import Key, WorkOrder

KEY = Key("p-1", "WO-1")
ROOT = Path(__file__).parents[2]
NUMBERS = itertools.count()


async def test_a_second_worker_is_refused_and_told_who_has_it(sqlite: Shelf) -> None:
    await sqlite.open()
    with pytest.raises(LedgerRefused, match=f"used by another worker, process {os.getpid()} on .*stop that one first"):
        await sqlite.open()


async def test_the_right_to_it_is_free_when_the_worker_has_closed_it(sqlite: Shelf) -> None:
    store = await sqlite.open()
    await store.close()
    await sqlite.open()


async def test_a_newer_schema_is_refused_with_a_sentence(sqlite: Shelf) -> None:
    # Given
    store = await sqlite.open()
    await store.close()
    with sqlite3.connect(sqlite.path) as db:
        db.execute("INSERT INTO migrations VALUES (999, '999_future', 0)")
    db.close()
    # When, Then
    with pytest.raises(LedgerRefused, match=r"written by a newer ditio-worker \(its schema is 999.*run that version"):
        await sqlite.open()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [each.number for each in migrations("sqlite")] == list(range(1, len(migrations("sqlite")) + 1))


async def test_a_file_that_is_no_ledger_is_refused_with_a_sentence(sqlite: Shelf) -> None:
    sqlite.path.parent.mkdir()
    sqlite.path.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(LedgerRefused, match=r"damaged or no ledger; name another file in LEDGER_URL"):
        await sqlite.open()


async def test_it_and_its_folder_are_for_their_owner_alone(sqlite: Shelf) -> None:
    await sqlite.open()
    assert sqlite.path.stat().st_mode & 0o777 == 0o600
    assert sqlite.path.parent.stat().st_mode & 0o777 == 0o700


async def test_commands_read_and_pause_beside_a_running_worker(sqlite: Shelf) -> None:
    # Given
    store = await sqlite.open()
    await store.commit(WorkOrder(KEY, task_id="t-1"))
    reader = await ledger.open_read_only(sqlite.path, clock=sqlite.clock)
    beside = await ledger.open_beside(sqlite.path, clock=sqlite.clock)
    # When
    await beside.pause("vedlikehold", "drift")
    # Then
    assert (await reader.load(KEY)).task_id == "t-1"
    assert (await store.paused()) is not None
    await store.commit(WorkOrder(Key("p-1", "WO-2")))
    assert await reader.work_orders() == 2
    await reader.close()
    await beside.close()


async def test_reading_where_there_is_no_ledger_says_so_and_makes_none(sqlite: Shelf) -> None:
    with pytest.raises(LedgerRefused, match="there is no ledger at"):
        await ledger.open_read_only(sqlite.path, clock=sqlite.clock)
    assert not sqlite.path.exists()


async def test_a_write_that_fails_raises_and_those_beside_it_are_committed(sqlite: Shelf) -> None:
    # Given a value that SQLite cannot hold among others
    store = await sqlite.open()
    writes = [store.first_seen("/erp", f"e-{number}", 2**80 if number == 5 else number) for number in range(10)]
    # When
    results = await asyncio.gather(*writes, return_exceptions=True)
    # Then
    assert isinstance(results[5], LedgerError)
    assert [each for place, each in enumerate(results) if place != 5] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert await store.first_seen("/erp", "e-9", 99) == 9


def full(db: sqlite3.Connection) -> None:
    """From now on the file may not grow."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")


async def test_a_full_disk_is_an_error_in_words_and_nothing_of_it_is_kept(sqlite: Shelf) -> None:
    # Given a file that may not grow
    store = await sqlite.open()
    await store.commit(WorkOrder(KEY, task_id="t-1"))
    assert isinstance(store, SqliteLedger)
    await store._thread.write(full)
    # When
    with pytest.raises(LedgerError, match="the disk is full"):
        await store.commit(WorkOrder(Key("p", "x" * 100_000)))
    # Then
    assert (await store.load(KEY)).task_id == "t-1"
    assert await store.work_orders() == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(records(), min_size=1, max_size=5), order=st.randoms(use_true_random=False))
def test_the_order_of_commits_makes_no_difference(tmp_path: Path, said: list[Record], order: random.Random) -> None:
    async def committed(parts: list[Record]) -> Record:
        path = tmp_path / f"{next(NUMBERS)}.db"
        store = await ledger.open(path, api_base="a", company_id="c", clock=StoppedClock())
        for part in parts:
            await store.commit(WorkOrder(KEY, part))
        stored = (await store.load(KEY)).record
        await store.close()
        return stored

    shuffled = order.sample(said, len(said))
    assert asyncio.run(committed(shuffled)) == merge_all(said)


WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from tests.ledger.conftest import StoppedClock
    from worker import ledger
    from worker.ports import Key, WorkOrder

    async def main():
        store = await ledger.open(Path(sys.argv[1]), api_base="a", company_id="c", clock=StoppedClock())
        begin = await store.work_orders()

        async def write(number):
            await store.commit(WorkOrder(Key("p", f"WO-{number}"), task_id=f"t-{number}"))
            print(number, flush=True)

        for start in range(begin, 1_000_000, 8):
            await asyncio.gather(*(write(number) for number in range(start, start + 8)))

    asyncio.run(main())
    """
)


async def test_everything_that_was_answered_is_there_after_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance, path, answered = random.Random(seed), tmp_path / "ledger.db", set[int]()
    for _ in range(6):
        # Given a writer that tells what was answered, killed at a random moment
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 400)):
            answered.add(int(writer.stdout.readline()))
        writer.send_signal(signal.SIGKILL)
        answered |= {int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")}
        writer.stdout.close()
        writer.wait()
        # Then
        store = await ledger.open(path, api_base="a", company_id="c", clock=StoppedClock())
        missing = [number for number in answered if (await store.load(Key("p", f"WO-{number}"))).task_id != f"t-{number}"]
        assert missing == []
        await store.close()


async def test_an_older_ledger_in_its_place_is_noticed_until_it_was_compared(sqlite: Shelf, tmp_path: Path) -> None:
    # Given a copy, and more that happened after it
    store = await sqlite.open()
    await store.commit(WorkOrder(KEY))
    await store.mark()
    await store.close()
    copy = sqlite.path.read_bytes()
    store = await sqlite.open()
    assert not await store.restored(), "nothing has happened"
    await store.commit(WorkOrder(Key("p-2", "WO-2")))
    await store.close()
    # When the copy takes its place
    sqlite.path.write_bytes(copy)
    store = await sqlite.open()
    # Then also after one more restart
    assert await store.restored()
    await store.close()
    store = await sqlite.open()
    assert await store.restored()
    assert await store.projects() == ["p-1"]
    # Until it was compared
    await store.rebase([WorkOrder(KEY, Record(), "t-1")])
    await store.believe()
    await store.close()
    store = await sqlite.open()
    assert not await store.restored()
    assert await store.of_project("p-1") == [WorkOrder(KEY, Record(), "t-1")]


async def test_a_killed_worker_leaves_a_ledger_that_is_believed_and_an_older_copy_of_it_is_not(sqlite: Shelf) -> None:
    # Given a worker that marks, and dies without closing
    store = await sqlite.open()
    await store.commit(WorkOrder(KEY))
    await store.mark()
    with sqlite3.connect(sqlite.path) as db:
        copy = db.serialize()
    db.close()
    await store.commit(WorkOrder(Key("p-2", "WO-2")))
    await store.mark()
    await store.commit(WorkOrder(Key("p-3", "WO-3")))
    dead = sqlite.path.parent
    again = Shelf("sqlite", dead / "again", sqlite.stack)
    again.path.parent.mkdir(parents=True)
    for file in dead.glob("ledger.db*"):
        (again.path.parent / file.name).write_bytes(file.read_bytes())
    # When it starts again
    reopened = await again.open()
    assert not await reopened.restored()
    assert await reopened.work_orders() == 3
    await reopened.close()
    # And when it starts on the copy
    for file in again.path.parent.glob("ledger.db-*"):
        file.unlink()
    again.path.write_bytes(copy)
    assert await (await again.open()).restored()


async def test_a_ledger_without_its_mark_is_compared_and_a_lost_one_has_nothing_to_compare(sqlite: Shelf) -> None:
    # Given
    store = await sqlite.open()
    await store.commit(WorkOrder(KEY))
    await store.close()
    mark = sqlite.path.with_name("ledger.db.mark")
    # When it was moved without its mark
    mark.unlink()
    store = await sqlite.open()
    assert await store.restored()
    await store.close()
    # When the ledger itself is lost
    sqlite.path.unlink()
    store = await sqlite.open()
    assert not await store.restored()
