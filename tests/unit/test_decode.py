"""From bytes to an event: both CloudEvents modes, what fields become, and errors that say where and why."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.decode import Rules, decode
from worker.core.errors import BadEvent, Invalid, UnsupportedType
from worker.core.event import Event, EventType, ProjectRef, Reference
from worker.core.identity import peek
from worker.core.message import Message
from worker.core.stamp import Instant
from worker.core.tables import Tables, TablesError, parse

NOW = 1_800_000_000.0
TABLES = Tables({"m3": "64f0"}, {"O": {"active": True}, "C": {"active": False, "finishedDate": "event-time"}})
RULES = Rules(now=NOW, tables=TABLES)
ATTRIBUTES = {
    "specversion": "1.0",
    "type": "workorder.updated.v1",
    "source": "/erp",
    "id": "e-1",
    "time": "2026-03-15T08:00:00.120+01:00",
}
DATA = {"project": {"number": "P-1"}, "externalId": "WO-1"}


def structured(content_type: str | None = "application/cloudevents+json", **changes: Any) -> Message:
    """A structured event, attributes changed."""
    properties = {} if content_type is None else {"content_type": content_type}
    return Message(json.dumps({**ATTRIBUTES, "data": DATA, **changes}).encode(), {}, properties)


def said(**fields: Any) -> Event:
    """An event with these fields in its data, decoded."""
    return decode(structured(data={**DATA, **fields}), RULES)


def refused(message: Message, rules: Rules = RULES) -> str:
    """What is said of a message that is no event."""
    with pytest.raises(BadEvent) as error:
        decode(message, rules)
    return str(error.value)


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON; charset=utf-8", None])
def test_a_binary_event_is_the_same_as_a_structured_one(prefix: str, content_type: str | None) -> None:
    headers: dict[str, object] = {f"{prefix}{name}": value for name, value in ATTRIBUTES.items()}
    properties = {} if content_type is None else {"content_type": content_type}
    binary = Message(json.dumps(DATA).encode(), headers, properties)
    assert decode(binary, RULES) == decode(structured(), RULES)


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+json; charset=UTF-8", "Application/CloudEvents+JSON", "application/json", None]
)
def test_a_body_with_specversion_is_structured_whatever_the_content_type_says(content_type: str | None) -> None:
    assert decode(structured(content_type), RULES).id == "e-1"


def test_integers_and_amqp_timestamps_are_taken_as_attribute_values() -> None:
    headers: dict[str, object] = {f"cloudEvents:{name}": value for name, value in ATTRIBUTES.items()}
    headers |= {"cloudEvents:id": 42, "cloudEvents:sequence": 7, "cloudEvents:time": datetime(2026, 3, 15, 7, tzinfo=UTC)}
    event = decode(Message(json.dumps(DATA).encode(), headers, {"content_type": "application/json"}), RULES)
    assert (event.id, event.sequence, event.time) == ("42", "7", Instant(1773558000))


def test_an_event_is_read_as_it_was_said() -> None:
    event = said(name="Graving", price=5, active=False, finishedDate=None, parent="WO-2", mainForeman="7", unit="m3")
    assert event == Event(
        EventType.UPDATED, "/erp", "e-1", Instant(1773558000, "12"), None, ProjectRef("number", "P-1"), "WO-1",
        {"name": "Graving", "price": 5.0, "active": False, "finishedDate": None, "unitId": "64f0"},
        {"parentActivityId": Reference("parent", "WO-2", "data.parent"), "mainForemanId": Reference("person", "7", "data.mainForeman")},
    )  # fmt: skip


def test_a_status_sets_its_fields_and_may_take_the_day_of_the_event() -> None:
    assert said(status="C").values == {"active": False, "finishedDate": "2026-03-15T07:00:00.12Z"}
    replaced = decode(structured(type="workorder.replaced.v1", data={**DATA, "status": "O"}), RULES)
    assert replaced.values == {"active": True}


def test_a_reference_that_is_null_clears_its_field() -> None:
    assert said(parent=None, taskLeader=None, unit=None).values == {
        "parentActivityId": None,
        "taskLeaderId": None,
        "unitId": None,
    }


def test_what_is_not_in_the_table_is_withheld_and_the_rest_is_said() -> None:
    event = said(unit="M3", name="x")
    assert event.values == {"name": "x"}
    (withheld,) = event.withheld
    assert (withheld.reason, withheld.field, withheld.wait, withheld.sets) == ("unresolved-unit", "data.unit", False, "unitId")
    assert "M3" in withheld.detail
    assert 'did you mean "m3"' in withheld.detail


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (structured(data={**DATA, "estimatedHourQty": "abc"}), 'data.estimatedHourQty: expected a number, got "abc"'),
        (structured(data={**DATA, "estimatedHoursQty": 1}), 'data.estimatedHoursQty: unknown field; did you mean "estimatedHourQty"?'),
        (structured(data={**DATA, "project": {"nummer": "1"}}), 'data.project.nummer: unknown field; did you mean "number"?'),
        (structured(data={**DATA, "status": "O", "active": True}), 'data.active: given together with the status "O", which sets active: give one of them'),
        (structured(data={**DATA, "externalId": "x" * 201}), "data.externalId: is 201 characters long, and 200 are allowed"),
        (structured(type="workorder.moved.v1"), "type: workorder.moved.v1 is reserved for later; this worker does not handle it yet"),
        (structured(time=None), "time: required"),
        (structured("application/cloudevents-batch+json"), "content_type: publish each event as a message of its own"),
    ],
)  # fmt: skip
def test_an_error_says_where_and_why(message: Message, sentence: str) -> None:
    assert refused(message).startswith(sentence)


def test_a_time_ahead_of_now_is_allowed_up_to_the_skew_and_no_further() -> None:
    ahead = datetime.fromtimestamp(NOW + 601, UTC).isoformat()
    assert "WORKER_MAX_SKEW_S" in refused(structured(time=ahead))
    assert decode(structured(time=datetime.fromtimestamp(NOW + 600, UTC).isoformat()), RULES)


def test_unknown_fields_may_be_let_pass_and_are_then_named() -> None:
    rules = Rules(now=NOW, unknown_fields="ignore")
    event = decode(structured(data={**DATA, "foo": 1, "ext": {"bar": 2}}), rules)
    assert event.unknown_fields == ("data.foo",)


def test_ordered_by_sequence_the_sequence_is_required() -> None:
    rules = Rules(now=NOW, order_by="sequence")
    assert refused(structured(), rules).startswith("sequence: required")
    assert decode(structured(sequence="007"), rules).sequence == "007"


def test_a_body_over_the_limit_is_refused_without_being_read() -> None:
    assert "WORKER_MAX_MESSAGE_BYTES" in refused(Message(b"x" * 101), Rules(now=NOW, max_bytes=100))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=200) | st.just(json.dumps({**ATTRIBUTES, "data": DATA}).encode()),
    headers=st.dictionaries(st.text(max_size=20), values, max_size=4),
)
def test_whatever_a_message_holds_only_the_two_errors_come_of_it(body: bytes, headers: dict[str, object]) -> None:
    message = Message(body, headers | {"cloudEvents:type": Decimal(1)}, {})
    with suppress(Invalid, UnsupportedType):
        decode(message, RULES)
    peek(message)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[unit", "no valid TOML"),
        ("[units]\na = 'b'", 'unknown table; did you mean "unit"?'),
        ("[unit]\nm3 = 5", "[unit] m3: expected the id of a unit in Ditio, got 5"),
        ("[status]\nO = {activ = true}", 'unknown field; did you mean "active"?'),
        ("[status]\nO = {active = 'yes'}", "expected true or false"),
        ("[status]\nO = {finishedDate = 'soon'}", 'expected "event-time" or a day'),
        ("[status]\nO = 5", "expected fields and values"),
    ],
)
def test_a_mistake_in_the_tables_is_told_in_words(toml: str, problem: str) -> None:
    with pytest.raises(TablesError) as error:
        parse(toml)
    assert problem in str(error.value)


def test_the_tables_are_read_as_documented() -> None:
    tables = parse("[unit]\nm3 = '64f'\n[status]\nC = {active = false, finishedDate = 'event-time', startDate = 2026-03-15}")
    assert tables.unit == {"m3": "64f"}
    assert tables.status == {"C": {"active": False, "finishedDate": "event-time", "startDate": "2026-03-15T00:00:00Z"}}
