"""What dead letters say of themselves, which of them are meant, how they stand, and how they are shown: values only."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dead import FAILED_AT, ODD, dead, numbered
from tests.support.publishing import event
from worker.core.dead_letter import DeadLetter, decodable, identity_of, original, read, response
from worker.core.decode import Rules, decode
from worker.core.event import said
from worker.core.identity import Identity, project_of
from worker.core.letter import Facts, letter, travel
from worker.core.marked import MARK, marked
from worker.core.message import Message
from worker.core.outcome import Failure, Reason
from worker.core.record import Record, merge
from worker.core.selection import Selection, ordered, selected
from worker.core.standing import WHO, superseded, who
from worker.core.traced import Traced, ago, answer

RULES = Rules(now=1_900_000_000)


def test_a_letter_is_read_as_it_was_written() -> None:
    # Given
    message = dead(event("updated", "WO-1", id="e"), 7, Failure("rejected", "Ditio answered 400", "data.name", 400, "nei"))
    # When
    told = read(message)
    # Then
    assert told == DeadLetter(
        f"{7:032x}",
        Identity("e", "workorder.updated.v1", "/erp/test", "P-2026-001", "WO-1"),
        "rejected",
        "Ditio answered 400",
        "data.name",
        400,
        FAILED_AT + 7_000_000,
        FAILED_AT + 6_000_000,
        attempts=2,
        size=len(message.body),
    )
    assert told.work_order == ("P-2026-001", "WO-1")
    assert (response(message), identity_of(message)) == ("nei", told.id)


HEADERS = (
    "letter-id",
    "failure-reason",
    "failure-detail",
    "failure-status",
    "failure-at",
    "attempts",
    "external-id",
    "repair-count",
)
nonsense = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=300) | st.binary(max_size=5) | st.floats() | st.just(["x"])
)


@given(st.dictionaries(st.sampled_from(HEADERS), nonsense, max_size=4), st.binary(max_size=20))
def test_nonsense_is_read_as_nothing(headers: dict[str, object], body: bytes) -> None:
    told = read(Message(body, headers))
    assert told.id
    assert told.reason is None or told.reason in get_args(Reason)
    assert 0 <= told.attempts < 2**63
    assert told.foreign == (told.id != headers.get("letter-id"))


def test_what_nobody_wrote_has_an_identity_that_stays_and_says_what_its_body_tells() -> None:
    bare = event("updated", "WO-1", id="e")
    seen = Message(bare.body, {"x-delivery-count": 3, "x-death": []}, bare.properties, "", "workorders.dead", redelivered=True)
    assert identity_of(bare) == identity_of(seen) != identity_of(event("updated", "WO-2", id="e"))
    assert identity_of(Message(bare.body, {}, {**bare.properties, "delivery_mode": 2})) == identity_of(bare)
    told = read(Message(bare.body, {}, {"timestamp": datetime(2026, 1, 1, tzinfo=UTC)}))
    assert told.foreign
    assert (told.reason, told.identity.external_id, told.failed_at) == (None, "WO-1", 1_767_225_600_000_000)
    assert len({identity_of(each) for each in ODD}) == len(ODD)
    assert read(Message(b"", {}, {"timestamp": 5})).failed_at == 5_000_000


def test_the_original_has_nothing_of_the_letter_but_its_place_in_the_order() -> None:
    # Given
    came = Message(event("updated", "WO-1").body, {"mine": 1}, {"content_type": "t", "expiration": "5"}, "workorders", "key")
    facts = Facts(Identity("e"), 5_000_000, 9_000_000, "0", 3, 70, 2, "l-1")
    message = letter(came, Failure("rejected", "no", status=400), facts)
    again = Message(
        message.body, {**message.headers, "x-delivery-count": 4, "repair-count": 2, "replay-count": 1}, message.properties
    )
    # When
    event_again = original(again)
    # Then
    assert event_again.headers == {
        "mine": 1,
        "first-seen-at": "1970-01-01T00:00:05.000000Z",
        "repair-count": 2,
        "replay-count": 1,
    }
    assert (event_again.exchange, event_again.routing_key, event_again.body) == ("workorders", "key", came.body)
    known = travel(event_again)
    assert (known.first_seen, known.repair, known.attempts, known.waited_s) == (5_000_000, 2, 0, 0)


def test_what_decoding_needs_is_enough_to_decode_either_form() -> None:
    structured = dead(event("updated", "WO-1", id="e", name="x"), 1)
    attributes = {
        "specversion": "1.0",
        "type": "workorder.updated.v1",
        "source": "/erp",
        "id": "e",
        "time": "2026-03-15T08:00:00Z",
    }
    data = b'{"project": {"number": "P-1"}, "externalId": "WO-1"}'
    came = Message(
        data, {f"cloudEvents:{name}": value for name, value in attributes.items()}, {"content_type": "application/json"}
    )
    for letter_ in (structured, dead(came, 2)):
        assert decode(decodable(letter_), RULES) == decode(original(letter_), RULES)
    assert decodable(structured).headers == {}
    assert decodable(ODD[0]).properties == {}


SAMPLE = dead(
    event("updated", "WO-1", id="e", name="Fase 2"), 3, Failure("rejected", "Ditio answered 400", "data.name", 400, "for kort")
)


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(), True),
        (Selection(ids=("00",)), True),
        (Selection(ids=("1",)), False),
        (Selection(reasons=("failing", "rejected")), True),
        (Selection(reasons=("failing",)), False),
        (Selection(types=("*.updated.*",)), True),
        (Selection(types=("updated",)), False),
        (Selection(sources=("/erp/*",)), True),
        (Selection(sources=("/erp",)), False),
        (Selection(projects=("P-2026-???",)), True),
        (Selection(projects=("P-2025-*",)), False),
        (Selection(external_ids=("WO-1",)), True),
        (Selection(external_ids=("WO-?0",)), False),
        (Selection(statuses=(400, 500)), True),
        (Selection(statuses=(500,)), False),
        (Selection(since=FAILED_AT + 3_000_000), True),
        (Selection(since=FAILED_AT + 3_000_001), False),
        (Selection(until=FAILED_AT + 3_000_001), True),
        (Selection(until=FAILED_AT + 3_000_000), False),
        (Selection(grep=("Fase [0-9]",)), True),
        (Selection(grep=("answered",)), True),
        (Selection(grep=("kort$",)), True),
        (Selection(grep=("lang",)), False),
        (Selection(headers=(("failure-status", "400"), ("project", None))), True),
        (Selection(headers=(("failure-status", "401"),)), False),
        (Selection(headers=(("nowhere", None),)), False),
        (Selection(reasons=("rejected",), projects=("X",)), False),
    ],
)
def test_a_letter_is_meant_when_every_filter_that_is_given_matches(selection: Selection, meant: bool) -> None:
    assert selected(selection, read(SAMPLE), SAMPLE) is meant


def test_a_letter_that_does_not_say_when_it_died_is_neither_before_nor_after() -> None:
    foreign = ODD[0]
    assert not selected(Selection(since=0), read(foreign), foreign)
    assert not selected(Selection(until=2**62), read(foreign), foreign)


def test_letters_are_ordered_by_time_work_order_or_reason_and_else_as_they_lie() -> None:
    letters = [read(each) for each in (numbered(3), numbered(1), ODD[0], numbered(2))]
    assert [each.foreign for each in ordered(letters, "oldest", lambda each: each)] == [True, False, False, False]
    assert ordered(letters, "newest", lambda each: each)[0] is letters[0]
    assert [each.identity.external_id for each in ordered(letters, "work-order", lambda each: each)] == [
        "",
        "WO-1",
        "WO-2",
        "WO-3",
    ]
    assert ordered(letters, "reason", lambda each: each)[1:] == [letters[1], letters[3], letters[0]]


def test_somebody_can_mend_every_reason() -> None:
    assert set(WHO) == set(get_args(Reason))
    assert {who(reason) for reason in WHO if reason.startswith("unresolved-")} == {"Ditio administrator"}
    assert (who("invalid-event"), who(None)) == ("ERP team", "us")


def _record(*messages: Message) -> Record:
    record = Record()
    for message in messages:
        told = decode(message, RULES)
        record = merge(record, said(told, told.stamp(5), {}, "deactivate"))
    return record


LATER = "2026-03-16T08:00:00Z"


@pytest.mark.parametrize(
    ("kind", "data", "newer", "gone"),
    [
        ("updated", {"name": "a"}, [("updated", {"name": "b"})], True),
        ("updated", {"name": "a", "price": 1}, [("updated", {"name": "b"})], False),
        ("updated", {"name": "a", "unit": "m3"}, [("updated", {"name": "b"})], False),
        ("updated", {"name": "a", "unit": "m3"}, [("updated", {"name": "b", "unitId": "66f"})], True),
        ("updated", {"name": "a", "status": "C"}, [("updated", {"name": "b", "active": True})], False),
        ("updated", {"parent": "WO-9"}, [("updated", {"parentActivityId": "7"})], True),
        ("updated", {"parent": "WO-9"}, [("updated", {"name": "b"})], False),
        ("updated", {"name": "a"}, [("replaced", {"active": True, "name": "b"})], True),
        ("replaced", {"active": True, "name": "a"}, [("updated", {"active": True, "name": "b"})], False),
        # A field that the record does not own yet would become owned, and so reset, by the newer floor.
        ("replaced", {"active": True, "name": "a"}, [("replaced", {"active": True})], False),
        ("replaced", {"active": True, "name": "a"}, [("replaced", {"active": True, "name": None})], True),
        ("deleted", {}, [("updated", {"active": True})], False),
        ("deleted", {}, [("replaced", {"active": True})], True),
        ("updated", {"name": "a"}, [], False),
    ],
)
def test_a_letter_is_superseded_when_nothing_that_it_says_would_still_count(
    kind: str, data: dict[str, object], newer: list[tuple[str, dict[str, object]]], gone: bool
) -> None:
    told = decode(event(kind, "WO-1", id="old", **data), RULES)  # type: ignore[arg-type]
    record = _record(*(event(each, "WO-1", id="new", time=LATER, **more) for each, more in newer))  # type: ignore[arg-type]
    assert superseded(told, told.stamp(5), record) is gone


def test_a_letter_that_says_that_the_work_order_exists_counts_until_something_newer_says_whether_it_does() -> None:
    told = decode(event("updated", "WO-1", id="old", name="a"), RULES)
    newer = _record(event("updated", "WO-1", id="new", time=LATER, name="b"))
    assert superseded(told, told.stamp(5), newer)
    older = _record(event("updated", "WO-1", id="older", time="2026-03-14T08:00:00Z")).exists
    for exists in (None, older):
        assert not superseded(told, told.stamp(5), msgspec.structs.replace(newer, exists=exists))


def test_what_the_letter_itself_brought_does_not_keep_it() -> None:
    # Given an event of which all but the unit was applied, and a newer unit
    old = event("updated", "WO-1", id="old", name="a", unit="m3")
    told = decode(old, RULES)
    record = merge(
        _record(event("updated", "WO-1", id="new", time=LATER, unitId="66f")), said(told, told.stamp(5), {}, "deactivate")
    )
    # Then
    assert superseded(told, told.stamp(5), record)


def test_the_field_at_fault_is_marked_or_the_object_where_it_is_missing() -> None:
    body = json.dumps(
        {"type": "t", "data": {"project": {"number": "P"}, "price": "æ", "rows": [1, {"a": None}], "none": {}}}
    ).encode()
    lines = marked(body, "data.price")
    assert lines is not None
    assert [line for line in lines if line.startswith(MARK)] == [f'{MARK}    "price": "æ",']
    assert json.loads("".join(line[2:] for line in lines)) == json.loads(body)
    missing = marked(body, "data.externalId") or []
    assert [line for line in missing if line.startswith(MARK)] == [f'{MARK}  "data": {{']
    assert [line for line in marked(body, "") or [] if line.startswith(MARK)] == []
    assert marked(b"\xff", "data") is None
    assert marked(b"[" * 100_000, "data") is None


def test_the_project_is_read_as_the_event_names_it() -> None:
    ref = project_of(Message(b'{"specversion": "1.0", "data": {"project": {"externalNumber": "X-1"}}}'))
    assert ref is not None
    assert (ref.kind, ref.value) == ("externalNumber", "X-1")
    assert project_of(Message(b"nonsense")) is None


@pytest.mark.parametrize(
    ("traced", "words"),
    [
        (Traced(last_in_project=840.5), "never received; last event for this project 14 minutes ago; Ditio has no such task"),
        (Traced(), "never received; no event for this project is known either; Ditio has no such task"),
        (Traced("applied", 1.5, tasks=1), "the last event, 1 second ago, was applied; Ditio has the task"),
        (
            Traced("dead", 90_000, "nei", letters=2, tasks=2),
            "the last event, 1 day ago, is a dead letter (nei); 2 dead letters about it; Ditio has 2 such tasks",
        ),
        (
            Traced(letters=1, unasked="Ditio could not be asked"),
            "received, but never understood; 1 dead letter about it; Ditio could not be asked",
        ),
        (
            Traced("waiting", 60, letters=None),
            "the last event, 1 minute ago, waits; whether dead letters are about it could not be told; Ditio has no such task",
        ),
    ],
)
def test_the_answer_of_a_trace_is_a_sentence(traced: Traced, words: str) -> None:
    assert answer(traced) == words
    assert ago(0.2) == "0 seconds ago"
