"""Merging is a join: the order, the grouping and the repetition of what is merged make no difference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.histories import histories, records, shuffled_with_duplicates
from worker.core.event import Event, said
from worker.core.record import Record, merge, merge_all


def says(event: Event, index: int) -> Record:
    return said(event, event.stamp(first_seen=index), {}, "deactivate")


@given(records(), records())
def test_merging_does_not_depend_on_the_order_of_the_two(a: Record, b: Record) -> None:
    assert merge(a, b) == merge(b, a)


@given(records(), records(), records())
def test_merging_does_not_depend_on_which_two_are_merged_first(a: Record, b: Record, c: Record) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(records())
def test_merging_a_record_with_itself_or_with_nothing_changes_nothing(a: Record) -> None:
    assert merge(a, a) == a
    assert merge(a, Record()) == a


@given(records(), records())
def test_merging_again_what_was_merged_before_changes_nothing(a: Record, b: Record) -> None:
    assert merge(merge(a, b), b) == merge(a, b)


@given(histories(), st.data(), st.sampled_from(["time", "sequence"]))
def test_any_permutation_with_duplicates_of_a_history_gives_the_same_record(
    history: list[Event], data: st.DataObject, order_by: str
) -> None:
    # Given the stamps
    said_once = [
        said(event, event.stamp(index, order_by="time" if order_by == "time" else "sequence"), {}, "deactivate")
        for index, event in enumerate(history)
    ]
    # When
    arrived = data.draw(shuffled_with_duplicates(said_once))
    # Then
    assert merge_all(arrived) == merge_all(said_once)
    assert merge_all(arrived).standing() == merge_all(said_once).standing()


@given(histories())
def test_a_field_stands_as_the_newest_event_that_set_or_reset_it_says(history: list[Event]) -> None:
    # Given
    stamped = sorted((event.stamp(index), index, event) for index, event in enumerate(history))
    # When
    standing = merge_all(says(event, index) for index, event in enumerate(history)).standing()
    # Then, told in another way: play the history in the order of its stamps
    played: dict[str, object] = {}
    for _, _, event in stamped:
        if event.type.value in ("workorder.replaced.v1", "workorder.deleted.v1"):
            played = dict.fromkeys(played)
        played |= {"active": False} if event.type.value == "workorder.deleted.v1" else event.values
    owned = {name for event in history for name in event.values} | set(played)
    assert {name: cell.value for name, cell in standing.items()} == {
        name: played.get(name) for name in owned if name in played or name in standing
    }
