"""Hypothesis strategies for what may happen to a work order: stamps, records, and whole histories of events."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from worker.core.event import Event, EventType, ProjectRef
from worker.core.field import NEVER_NULL, Value
from worker.core.record import Cell, Record
from worker.core.stamp import Instant, Sequence, Stamp

Item = TypeVar("Item")

VALUES: dict[str, st.SearchStrategy[Value]] = {
    "name": st.sampled_from(["Graving", "Sprengning", "Støp æøå"]),
    "active": st.booleans(),
    "estimatedHourQty": st.sampled_from([0.0, 7.5, 750.0]),
    "price": st.sampled_from([0.0, 1.25]),
    "workDescription": st.sampled_from(["", "langs veien"]),
    "finishedDate": st.sampled_from(["2026-03-15T00:00:00Z", "2026-10-25T01:30:00Z"]),
    "isParent": st.booleans(),
    "safeJobAnalysisApprovalRequired": st.booleans(),
}
"""A field of each kind, with few values, so that events meet."""

instants = st.builds(Instant, st.integers(1_767_222_000, 1_767_222_003), st.sampled_from(["", "5", "50001"]))
sequences = st.sampled_from([None, "1", "02", "10", "a", "b"])
stamps = st.builds(
    Stamp,
    lead=st.just(Sequence()),
    time=instants,
    sequence=st.builds(Sequence.of, sequences),
    first_seen=st.integers(1, 3),
    id=st.sampled_from(["e1", "e2"]),
    repair=st.integers(0, 1),
)


@st.composite
def said_values(draw: st.DrawFn, *, with_active: bool = False) -> dict[str, Value]:
    """What an event sets: any of the fields, some of them cleared."""
    names = draw(st.sets(st.sampled_from(sorted(VALUES)))) | ({"active"} if with_active else set())
    return {
        name: None if name not in NEVER_NULL and draw(st.integers(0, 4)) == 0 else draw(VALUES[name]) for name in sorted(names)
    }


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record at all, also such as no history leads to."""
    cells = {
        name: Cell(value, draw(stamps), reset=value is None and draw(st.booleans()))
        for name, value in draw(said_values()).items()
    }
    exists = draw(st.none() | st.builds(Cell, st.booleans(), stamps))
    owned = draw(st.frozensets(st.sampled_from(sorted(VALUES)))) | frozenset(cells)
    return Record(cells, exists, draw(st.none() | stamps), owned)


@st.composite
def events(draw: st.DrawFn, index: int, types: tuple[EventType, ...] = tuple(EventType)) -> Event:
    """One event of a work order; its id is its place in the history."""
    kind = draw(st.sampled_from(types))
    values = {} if kind is EventType.DELETED else draw(said_values(with_active=kind is EventType.REPLACED))
    return Event(kind, "/erp", f"e{index}", draw(instants), draw(sequences), ProjectRef("number", "P-1"), "WO-1", values)


@st.composite
def histories(draw: st.DrawFn, *, most: int = 7, types: tuple[EventType, ...] = tuple(EventType)) -> list[Event]:
    """The events of one work order, in the order in which they are first seen."""
    return [draw(events(index, types)) for index in range(draw(st.integers(1, most)))]


@st.composite
def shuffled_with_duplicates(draw: st.DrawFn, items: list[Item]) -> list[Item]:
    """All of the items in any order, some of them again."""
    again = draw(st.lists(st.sampled_from(items), max_size=3))
    return draw(st.permutations([*items, *again]))
