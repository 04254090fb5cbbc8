"""A record of a ledger that was put back takes in what Ditio shows, without losing what its stamps still say."""

from __future__ import annotations

import pytest

from worker.core.plan import Policy, next_call, shown_by_record, shown_by_task, wanted
from worker.core.record import Cell, Record, merge
from worker.core.restored import as_shown
from worker.core.stamp import Instant, Sequence, Stamp

POLICY = Policy()


def stamp(seconds: int, id: str = "e") -> Stamp:
    return Stamp(Sequence(), Instant(seconds), Sequence(), seconds, id)


def record(seconds: int, *, exists: bool = True, floor: int | None = None, **values: str | float | bool | None) -> Record:
    cells = {name: Cell(value, stamp(seconds)) for name, value in values.items()}
    return Record(cells, Cell(exists, stamp(seconds)), stamp(floor) if floor else None, frozenset(cells))


def due(known: Record, said: Record) -> object:
    """The call that an event asks for on what is known."""
    merged = merge(known, said)
    return next_call("WO-1", wanted(merged, POLICY), "t-1", shown_by_record(known, POLICY), POLICY)


def values(call: object) -> object:
    return getattr(call, "values", None)


@pytest.mark.parametrize(("old", "new"), [("A", "B"), ("B", "A")])
def test_a_newer_event_with_the_old_value_is_sent_because_ditio_shows_another(old: str, new: str) -> None:
    # Given the record says the old name, and Ditio has shown the new one since
    before = record(1, name=old)
    assert due(before, record(3, name=old)) is None, "so it would be taken for done"
    known = as_shown(before, shown_by_task({"id": "t-1", "name": new}), POLICY)
    # Then
    assert values(due(known, record(3, name=old))) == {"name": old}
    assert due(known, record(3, name=new)) is None
    # And the event that the record knows does not come back to life, nor does an older one
    assert due(known, record(1, name=old)) is None
    assert due(known, record(0, name="C")) is None


def test_an_event_of_another_field_leaves_what_ditio_shows_alone() -> None:
    known = as_shown(record(1, name="A", price=1.0), shown_by_task({"name": "B", "price": 2}), POLICY)
    assert values(due(known, record(3, workDescription="x"))) == {"workDescription": "x"}


def test_what_is_as_the_record_says_stays_as_it_is() -> None:
    known = record(1, name="A", price=None)
    assert as_shown(known, shown_by_task({"name": "A", "price": 0}), POLICY) == known


def test_what_was_cleared_since_is_known_to_be_empty() -> None:
    known = as_shown(record(1, finishedDate="2026-03-15T00:00:00Z", active=True), shown_by_task({}), POLICY)
    assert {name: cell.value for name, cell in known.cells.items()} == {"finishedDate": None, "active": False}


def test_a_work_order_that_was_deleted_and_came_back_exists() -> None:
    gone = record(1, exists=False, active=True)
    # When Ditio shows it inactive, it is gone still
    assert as_shown(gone, shown_by_task({"active": False}), POLICY) == gone
    # And when it is active, it came back
    known = as_shown(gone, shown_by_task({"active": True}), POLICY)
    assert known.exists is not None
    assert known.exists.value is True
    assert values(due(known, record(3, exists=False))) == {"active": False}


def test_a_field_that_a_floor_had_reset_and_that_was_set_since_is_kept() -> None:
    # Given a replaced event that reset the price, and a forgotten one that set it again
    known = as_shown(record(1, floor=2, price=1.0), shown_by_task({"price": 5}), POLICY)
    # Then an event of another field does not reset it again
    assert values(due(known, record(3, name="x"))) == {"name": "x"}
