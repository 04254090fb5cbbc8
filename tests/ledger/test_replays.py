"""What replays of dead letters keep in a ledger, and how they read what became of events."""

from __future__ import annotations

from tests.ledger.conftest import Shelf
from tests.ledger.test_ledger import KEY, line, record
from worker.ledger import Ended, Replaying
from worker.ports import WorkOrder


def note(number: int, run: str = "r-1", at: float = 5.0) -> Replaying:
    return Replaying(f"letter-{number}", run, "/erp", f"e-{number}", 7, at)


async def test_notes_of_a_replay_stay_until_they_are_crossed_out(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    await store.replay_begins([note(1), note(2, at=4.0), note(3)])
    await store.close()
    # When
    again = await shelf.open()
    assert await again.replaying() == [note(2, at=4.0), note(1), note(3)]
    await again.replay_ends(["letter-1", "nobody"])
    await again.replay_begins([note(2, "r-2", 6.0)])
    # Then
    assert await again.replaying() == [note(3), note(2, "r-2", 6.0)]


async def test_ends_of_events_are_read_from_a_line_of_the_history_on(shelf: Shelf) -> None:
    # Given
    store = await shelf.open()
    assert (await store.newest(), await store.ended(0)) == (0, [])
    await store.commit(WorkOrder(KEY, record(5, name="a")), [line(1, "e-1"), line(2, "e-2")])
    after = await store.newest()
    # When
    await store.commit(WorkOrder(KEY, record(6, name="b")), [line(3, "e-3"), line(4, "e-4")])
    # Then
    lines = await store.ended(after)
    assert [(each.source, each.event_id, each.outcome) for each in lines] == [
        ("/erp", "e-3", "applied"),
        ("/erp", "e-4", "applied"),
    ]
    assert (lines[-1].number, await store.newest()) == (after + 2, after + 2)
    assert await store.ended(after, 1) == [Ended(after + 1, "/erp", "e-3", "applied")]
    assert await store.ended(after + 2) == []
