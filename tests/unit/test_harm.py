"""Which calls do harm that many of would be a broken export."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from worker.core.field import Value
from worker.core.harm import admitted, harms
from worker.core.plan import Call, Create, Delete, Replace, Update, Wanted
from worker.core.record import Cell, Record
from worker.core.stamp import Instant, Sequence, Stamp


def stamp(seconds: int) -> Stamp:
    return Stamp(Sequence(), Instant(seconds), Sequence(), seconds, "e")


def named(call: Call, values: Mapping[str, Value], held: Mapping[str, Value], *, exists: bool = True, at: int = 5) -> list[str]:
    """The names of the harms, by what they harm."""
    merged = Record({name: Cell(value, stamp(at)) for name, value in values.items()}, Cell(exists, stamp(at)))
    return list(harms("p-1", "WO-1", call, merged, Wanted(values, exists), held))


@pytest.mark.parametrize(
    ("call", "values", "held", "count"),
    [
        (Update("t", {"active": False}), {"active": False}, {"active": True}, 1),
        (Update("t", {"active": False}), {"active": False}, {}, 1),
        (Update("t", {"active": False}), {"active": False}, {"active": False}, 0),
        (Update("t", {"active": True}), {"active": True}, {"active": False}, 0),
        (Replace("t", {"active": False, "name": "x"}), {"active": False, "name": "x"}, {"active": True, "name": "y"}, 1),
        (Create("WO-1", {"active": False}), {"active": False}, {}, 0),
        (Delete("t"), {}, {}, 1),
        (Replace("t", {"finishedDate": None}), {"finishedDate": None}, {"finishedDate": "2026-03-15T00:00:00Z"}, 1),
        (Replace("t", {"finishedDate": None}), {"finishedDate": None}, {}, 0),
        (Update("t", {"price": 0.0}), {"price": None}, {"price": 12.5}, 1),
        (Update("t", {"price": 0.0}), {"price": None}, {"price": 0.0}, 0),
        (Update("t", {"price": 0.0}), {"price": 0.0}, {"price": 12.5}, 0),
        (Update("t", {"parentActivityId": ""}), {"parentActivityId": None}, {"parentActivityId": "t-0"}, 1),
        (Replace("t", {"name": None, "price": None}), {"name": None, "price": None}, {"name": "x", "price": 1.0}, 2),
    ],
)
def test_a_harm_is_what_was_there_or_active_and_is_no_more(
    call: Call, values: Mapping[str, Value], held: Mapping[str, Value], count: int
) -> None:
    assert len(named(call, values, held, exists=not isinstance(call, Delete))) == count


def test_a_deletion_by_deactivating_is_a_harm() -> None:
    assert len(named(Update("t", {"active": False}), {}, {"active": True}, exists=False)) == 1


def test_a_repetition_has_the_same_name_and_another_event_another() -> None:
    call, values, held = Update("t", {"active": False}), {"active": False}, {"active": True}
    assert named(call, values, held) == named(call, values, held)
    assert named(call, values, held) != named(call, values, held, at=6)


@pytest.mark.parametrize(
    ("spent", "more", "most", "may"),
    [(9, 1, 10, True), (10, 1, 10, False), (0, 12, 10, True), (1, 12, 10, False), (8, 3, 10, False)],
)
def test_no_more_than_so_many_are_admitted_but_one_call_alone_always_is(spent: int, more: int, most: int, may: bool) -> None:
    assert admitted(spent, more, most) is may
