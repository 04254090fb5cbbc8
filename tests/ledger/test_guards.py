"""What every ledger keeps for the guards and for those who look."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from tests.ledger.conftest import Shelf
from worker import ledger
from worker.core.record import Record
from worker.ledger import Aside, Run
from worker.ports import Happened, Key, WorkOrder


def aside(id: str, external_id: str = "WO-1", **changes: object) -> Aside:
    given = Aside(
        "/erp", id, "workorder.updated.v1", "parent", "stale", "P-1", external_id, "unresolved-parent", "not there", 5, 100,
        project_id="p-1",
    )  # fmt: skip
    return msgspec.structs.replace(given, **changes)


async def test_harms_are_counted_over_an_hour_and_one_too_many_pauses_all(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    assert await store.spend(["a", "b"], 3)
    await store.close()
    shelf.clock.at += 3599
    # When after a restart, within the hour
    store = await shelf.open()
    assert await store.spend(["c"], 3)
    assert await store.spend(["c", "a"], 3), "what is repeated counts once"
    assert await store.paused() is None
    assert not await store.spend(["d"], 3)
    # Then
    paused = await store.paused()
    assert paused is not None
    assert (paused.cause, paused.by) == ("mass-change", "the worker")
    assert "more than 3" in paused.reason
    # And when the first are an hour old
    shelf.clock.at += 1
    assert await store.spend(["d", "e"], 3)
    assert not await store.spend(["f"], 3)


async def test_resuming_after_a_mass_change_lets_as_many_through_again_and_after_another_pause_does_not(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    assert await store.spend(["a", "b"], 2)
    # When paused by hand
    await store.pause("month end", "drift")
    assert not await store.spend(["c"], 2)
    ended = await store.resume()
    # Then
    assert ended is not None
    assert (ended.cause, ended.reason) == ("manual", "month end")
    assert not await store.spend(["c"], 2)
    # And when it is resumed after the mass change
    ended = await store.resume()
    assert ended is not None
    assert ended.cause == "mass-change"
    assert await store.spend(["c", "d"], 2)
    assert await store.resume() is None


async def test_what_waits_is_known_until_it_is_taken_up(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    await store.put_aside(aside("e-2", since=7))
    await store.put_aside(aside("e-1"))
    await store.put_aside(aside("e-1", kind="person", back_at=200))
    await store.put_aside(aside("e-3", "WO-3", kind="project", state="missing", project_id=None, since=9))
    await store.put_aside(aside("e-4", "WO-3", kind="project", state="missing", project_id=None, since=10))
    await store.close()
    # Then after a restart
    store = await shelf.open()
    assert [(each.id, each.kind) for each in await store.waiting()] == [
        ("e-1", "person"), ("e-2", "parent"), ("e-3", "project"), ("e-4", "project"),
    ]  # fmt: skip
    unsettled = await store.unsettled()
    assert dict(unsettled.kinds) == {"person": 1, "parent": 1, "project": 2}
    assert dict(unsettled.states) == {"stale": 1, "missing": 1}, "distinct work orders"
    # When
    await store.taken_up("/erp", "e-3")
    await store.taken_up("/erp", "e-unknown")
    # Then
    assert [each.id for each in await store.waiting()] == ["e-1", "e-2", "e-4"]
    # And what should have come back long ago is forgotten
    assert await store.forget_waiting(200) == 2
    assert await store.waiting() == [aside("e-1", kind="person", back_at=200)]


async def test_status_can_be_told_from_it(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    for at, outcome, id in ((10, "applied", "e-1"), (30, "unchanged", "e-2"), (20, "applied", "e-3"), (40, "applied", "")):
        await store.commit(WorkOrder(Key("p-1", "WO-1"), Record(), "t", 9.0), [Happened(at, outcome, "/erp", id)])
    # Then
    found = await store.last_event()
    assert found is not None
    assert found[1].id == "e-2"
    assert dict(await store.outcomes(15)) == {"unchanged": 1, "applied": 1}
    assert await store.doubts() == 1


async def test_a_run_that_did_not_end_in_order_is_told_from_one_that_did(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    began = shelf.clock.at
    await store.begin_run()
    shelf.clock.at += 5
    await store.end_run()
    for _ in range(2):
        shelf.clock.at += 10
        await store.begin_run()
    # Then
    assert await store.runs(began + 15) == [Run(began + 25, None), Run(began + 15, None), Run(began, began + 5)]
    assert await store.runs(began + 99) == [Run(began + 25, None)]


async def test_an_operators_pause_reaches_the_worker_that_has_the_file(sqlite: Shelf) -> None:
    # Given
    store = await sqlite.open()
    beside = await ledger.open_beside(sqlite.path, clock=replace(sqlite.clock))
    # When
    await beside.pause("month end", "drift")
    # Then
    paused = await store.paused()
    assert paused is not None
    assert paused.reason == "month end"
    assert await beside.resume() == paused
    assert await store.paused() is None
    await beside.close()
