"""What every ledger does, whatever it is kept in."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.ledger.conftest import Shelf
from worker.core.caution import Standing
from worker.core.errors import LedgerError
from worker.core.record import Cell, Record
from worker.core.stamp import Instant, Sequence, Stamp
from worker.ledger import Counted, Indexed, LedgerRefused
from worker.ports import Happened, Key, Suspects, WorkOrder

KEY = Key("p-1", "WO-1")


def stamp(seconds: int, id: str = "e") -> Stamp:
    return Stamp(Sequence(), Instant(seconds), Sequence(), seconds, id)


def record(seconds: int, **values: str) -> Record:
    cells = {name: Cell(value, stamp(seconds)) for name, value in values.items()}
    return Record(cells, Cell(True, stamp(seconds)), None, frozenset(cells))


def line(at: int, id: str = "", time: str = "2026-03-15T08:00:00Z") -> Happened:
    return Happened(at, "applied", "/erp", id, "workorder.updated.v1", time, at, "", ("task_update",), {"name": "før"})


async def test_an_unknown_work_order_is_empty(shelf: Shelf) -> None:
    store = await shelf.open()
    assert await store.load(KEY) == WorkOrder(KEY)


async def test_what_was_committed_is_there_after_reopening(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    order = WorkOrder(KEY, record(5, name="Graving"), "t-1", 7.5)
    await store.commit(order, [line(1, "e-1")])
    await store.close()
    # When
    again = await shelf.open()
    # Then
    assert await again.load(KEY) == order
    assert await again.history(KEY) == [line(1, "e-1")]
    assert [each.key for each in await again.with_task("t-1")] == [KEY]
    assert [each.key for each in await again.with_external_id("WO-1")] == [KEY]
    assert await again.work_orders() == 1


async def test_a_commit_is_a_merge_so_a_stale_writer_cannot_take_the_record_back(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    await store.commit(WorkOrder(KEY, record(9, name="nytt"), "t-1"))
    # When
    await store.commit(WorkOrder(KEY, record(5, name="gammelt", price="1"), "t-1"))
    # Then
    known = (await store.load(KEY)).record
    assert {name: cell.value for name, cell in known.cells.items()} == {"name": "nytt", "price": "1"}
    assert known.exists is not None
    assert known.exists.stamp == stamp(9)


async def test_many_at_once_are_each_done_as_if_alone(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    keys = [Key("p", f"WO-{number}") for number in range(100)]
    # When each is written twice, and read in between
    await asyncio.gather(*(store.commit(WorkOrder(key, record(5, name="a")), [line(1, "e-1")]) for key in keys))
    await asyncio.gather(
        *(
            store.commit(WorkOrder(key, record(9, name=key.external_id), f"t-{key.external_id}"), [line(2, "e-2")])
            for key in keys
        ),
        *(store.commit(WorkOrder(key, record(7, price="1"), f"t-{key.external_id}"), [line(3, "e-3")]) for key in keys),
        *(store.load(key) for key in keys),
        *(store.first_seen("/erp", "e", at) for at in range(50, 0, -1)),
    )
    # Then
    for key in keys:
        known = await store.load(key)
        assert {name: cell.value for name, cell in known.record.cells.items()} == {"name": key.external_id, "price": "1"}
        assert sorted(each.id for each in await store.history(key)) == ["e-1", "e-2", "e-3"]
    assert await store.first_seen("/erp", "e", 99) == 1
    assert await store.work_orders() == 100


async def test_a_work_order_is_read_and_written_while_its_lock_is_held_again_and_again(shelf: Shelf) -> None:
    store = await shelf.open()
    for number in range(3):
        async with store.hold(KEY):
            order = await store.load(KEY)
            store.assure(KEY)
            await store.commit(msgspec.structs.replace(order, task_id=f"t-{number}"))
    assert (await store.load(KEY)).task_id == "t-2"


async def test_names_are_compared_exactly_and_ordered_alike_everywhere(shelf: Shelf) -> None:
    store = await shelf.open()
    projects = ["b", "B", "ä", "a", "A", "Ø", "\U0001f600", "z z", "z"]
    for project in projects:
        await store.commit(WorkOrder(Key(project, "Straße"), doubt_until=5.0))
    await store.commit(WorkOrder(Key("a", "STRASSE")))
    assert [order.key.project_id for order in await store.with_external_id("Straße")] == sorted(projects)
    assert [key.project_id for key in await store.due(9.0, 100)] == sorted(projects)


async def test_first_seen_is_the_smallest_ever_given(shelf: Shelf) -> None:
    store = await shelf.open()
    assert await store.first_seen("/erp", "e-1", 50) == 50
    assert await store.first_seen("/erp", "e-1", 70) == 50
    assert await store.first_seen("/erp", "e-1", 30) == 30
    assert await store.first_seen("/other", "e-1", 99) == 99
    assert (await store.seen("/erp", "e-1"), await store.seen("/other", "e-2")) == (30, None)


async def test_doubts_are_due_when_their_time_is_over_and_the_longest_overdue_first(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    for number, until in ((1, 30.0), (2, 10.0), (3, 20.0), (4, 0.0)):
        await store.commit(WorkOrder(Key("p", f"WO-{number}"), doubt_until=until))
    # Then
    assert await store.next_due() == 10.0
    assert [key.external_id for key in await store.due(20.0, 10)] == ["WO-2", "WO-3"]
    assert [key.external_id for key in await store.due(99.0, 1)] == ["WO-2"]
    # When a doubt is lifted it is due no more
    await store.commit(WorkOrder(Key("p", "WO-2"), doubt_until=0.0))
    assert await store.next_due() == 20.0


async def test_a_child_owes_it_to_its_parent_to_be_looked_at_also_to_one_that_was_unknown(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    child = WorkOrder(Key("p", "WO-2"), task_id="t-2", parent="WO-1", parent_id="t-1")
    # When
    await store.commit(child)
    # Then
    assert await store.due(0.0, 10) == [Key("p", "WO-1")]
    parent = await store.load(Key("p", "WO-1"))
    assert (parent.named, parent.owed, parent.task_id) == (True, 1, None)
    assert (await store.load(Key("other", "WO-1"))).owed == 0
    assert await store.load(child.key) == child
    # And committing the same again owes nothing more
    await store.commit(child)
    assert (await store.load(parent.key)).owed == 1
    # And when it is paid it is due no more, until the child moves away
    await store.commit(msgspec.structs.replace(parent, task_id="t-1", marked=True), paid=True)
    assert await store.next_due() is None
    await store.commit(msgspec.structs.replace(child, parent=None, parent_id=None))
    parent = await store.load(parent.key)
    assert (parent.named, parent.marked, parent.owed) == (False, True, 1)


async def test_what_was_caused_while_it_was_being_paid_is_still_owed_at_once(shelf: Shelf) -> None:
    # Given something owed, that somebody has begun to do
    store = await shelf.open()
    await store.commit(WorkOrder(Key("p", "WO-2"), parent="WO-1", parent_id="t-1"))
    begun = await store.load(Key("p", "WO-1"))
    # When another child comes meanwhile
    await store.commit(WorkOrder(Key("p", "WO-3"), parent="WO-1", parent_id="t-1"))
    await store.commit(begun, paid=True)
    # Then
    assert (await store.load(begun.key)).owed == 1
    assert await store.due(0.0, 10) == [begun.key]
    # And what is put off is due later
    later = await store.load(begun.key)
    await store.commit(msgspec.structs.replace(later, owed_at=50.0))
    assert await store.due(49.0, 10) == []
    assert await store.next_due() == 50.0
    # And what is caused meanwhile is due at once
    await store.commit(WorkOrder(Key("p", "WO-3")))
    await store.commit(msgspec.structs.replace(later, owed_at=70.0))
    assert await store.next_due() == 0.0


async def test_a_task_with_another_id_is_owed_to_those_that_lie_under_it_by_name(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    await store.commit(WorkOrder(Key("p", "WO-1"), task_id="t-1"))
    await store.commit(WorkOrder(Key("p", "WO-2"), task_id="t-2", parent="WO-1", parent_id="t-1"))
    await store.commit(WorkOrder(Key("p", "WO-3"), task_id="t-3", parent_id="t-1"))
    parent = await store.load(Key("p", "WO-1"))
    assert (parent.named, parent.owed) == (True, 2)
    # When it is gone, and made again
    await store.commit(msgspec.structs.replace(parent, task_id=None), paid=True)
    assert await store.next_due() is None
    await store.commit(msgspec.structs.replace(parent, task_id="t-9", owed=0))
    # Then
    assert await store.due(0.0, 10) == [Key("p", "WO-2")]


async def test_history_gives_the_last_lines_in_the_order_of_their_commits(shelf: Shelf) -> None:
    store = await shelf.open()
    for at in (5, 3, 9):
        await store.commit(WorkOrder(KEY), [line(at, f"e-{at}")])
    assert [each.at for each in await store.history(KEY)] == [5, 3, 9]
    assert [each.at for each in await store.history(KEY, limit=2)] == [3, 9]
    found = await store.last_event("p-1")
    assert found is not None
    assert (found[0], found[1].id) == (KEY, "e-9")


async def test_it_is_bound_to_one_ditio_and_one_company(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    await store.close()
    # A slash at the end makes no difference
    await (await shelf.open(api_base="https://ditio.example/core/")).close()
    # When, Then
    with pytest.raises(LedgerRefused, match=r"company c-1 at https://ditio\.example/core.*LEDGER_URL"):
        await shelf.open(company_id="c-2")
    with pytest.raises(LedgerRefused, match="say nothing about"):
        await shelf.open(api_base="https://other.example/core")


async def test_a_pause_is_kept_until_it_is_ended(shelf: Shelf) -> None:
    store = await shelf.open()
    await store.pause("månedsslutt", "drift")
    await store.close()
    again = await shelf.open()
    paused = await again.paused()
    assert paused is not None
    assert (paused.reason, paused.by, paused.at) == ("månedsslutt", "drift", shelf.clock.at)
    await again.resume()
    assert await again.paused() is None


async def test_pruning_removes_old_history_but_no_work_order(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    await store.commit(WorkOrder(KEY, record(5, name="x"), "t-1"), [line(1, "e-1"), line(100, "e-2")])
    # When
    assert await store.prune(50) == 1
    # Then
    assert [each.id for each in await store.history(KEY)] == ["e-2"]
    assert (await store.load(KEY)).task_id == "t-1"


async def test_pruning_keeps_first_seen_of_an_event_that_could_still_meet_its_equal(shelf: Shelf) -> None:
    # Given an event whose time a cell still has, and one whose time none has
    store = await shelf.open()
    standing, gone = "1970-01-01T00:00:05Z", "1970-01-01T00:00:04Z"
    await store.first_seen("/erp", "e-standing", 10)
    await store.first_seen("/erp", "e-gone", 10)
    await store.commit(WorkOrder(KEY, record(5, name="x")), [line(1, "e-standing", standing), line(1, "e-gone", gone)])
    # When
    await store.prune(50)
    # Then
    assert await store.first_seen("/erp", "e-standing", 99) == 10
    assert await store.first_seen("/erp", "e-gone", 99) == 99


async def test_a_closed_ledger_refuses_everything(shelf: Shelf) -> None:
    store = await shelf.open()
    await store.close()
    with pytest.raises(LedgerError, match="closed"):
        await store.load(KEY)


async def test_notes_stand_until_they_are_lifted_or_the_message_is_settled_and_a_workers_own_does_not_count(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    for worker in ("w-1", "w-1", "w-2", "w-3"):
        await store.note("m-1", worker)
    await store.note("m-2", "w-1")
    await store.close()
    store = await shelf.open()
    # Then
    assert await store.standing("m-1", "w-4") == Standing(3)
    assert await store.standing("m-1", "w-2") == Standing(2)
    assert await store.suspects() == Suspects(frozenset({"m-1", "m-2"}))
    # When
    await store.lift("m-1", "w-1")
    await store.lift("m-2", "w-9")
    assert await store.standing("m-1", "w-4") == Standing(2)
    await store.settled("m-1")
    # Then
    assert await store.standing("m-1", "w-4") == Standing()
    assert await store.suspects() == Suspects(frozenset({"m-2"}))


async def test_who_used_up_its_notes_counts_against_others_until_something_is_settled_and_the_condemned_stay_so(
    shelf: Shelf,
) -> None:
    # Given
    store = await shelf.open()
    await store.broke("m-1", condemned=True)
    await store.broke("m-1", condemned=False)
    await store.broke("m-2", condemned=False)
    await store.note("m-2", "w-1")
    await store.close()
    store = await shelf.open()
    # Then
    assert await store.standing("m-1", "w-2") == Standing(0, condemned=True, others=1)
    assert await store.standing("m-2", "w-2") == Standing(1, condemned=False, others=1)
    assert await store.standing("m-3", "w-2") == Standing(0, condemned=False, others=2)
    assert await store.suspects() == Suspects(frozenset({"m-1", "m-2"}), tense=True)
    # When
    await store.settled("m-3")
    # Then
    assert await store.standing("m-2", "w-2") == Standing(1)
    assert await store.standing("m-1", "w-2") == Standing(0, condemned=True)
    assert await store.suspects() == Suspects(frozenset({"m-1", "m-2"}))


async def test_forgiving_removes_notes_and_nothing_else(shelf: Shelf) -> None:
    store = await shelf.open()
    await store.broke("m-1", condemned=True)
    await store.note("m-2", "w-1")
    await store.forgive()
    assert await store.suspects() == Suspects(frozenset({"m-1"}), tense=True)
    assert await store.standing("m-2", "w-2") == Standing(0, others=1)


async def test_it_knows_when_an_operator_last_resumed(shelf: Shelf) -> None:
    store = await shelf.open()
    assert await store.resumed() == 0
    shelf.clock.at = 1_234.567891
    await store.resume()
    await store.close()
    assert await (await shelf.open()).resumed() == 1_234.567891


async def test_it_knows_whether_the_worker_before_ended_in_order(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    assert not await store.arrive(), "nothing is known of a worker before"
    await store.leave()
    await store.close()
    # When, Then
    store = await shelf.open()
    assert await store.arrive()
    await store.close()
    assert not await (await shelf.open()).arrive(), "the last one never left"


async def test_the_index_of_letters_counts_by_reason_and_survives_a_restart(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    assert await store.letters() == []
    await store.letters_written([Indexed("a", "rejected", 5), Indexed("b", "failing", 9), Indexed("c", "rejected", 3)])
    await store.letters_written([Indexed("a", "failing", 1)])
    await store.close()
    # When, Then
    again = await shelf.open()
    assert list(await again.letters()) == [Counted("failing", 1, 9), Counted("rejected", 2, 3)]
    await again.letters_removed(["c", "nobody"])
    assert list(await again.letters()) == [Counted("failing", 1, 9), Counted("rejected", 1, 5)]
    await again.letters_are([Indexed("d", "unknown", 7), Indexed("a", "rejected", 5)])
    assert list(await again.letters()) == [Counted("rejected", 1, 5), Counted("unknown", 1, 7)]
