"""Dead letters and waiting messages: everything is kept, nothing acts, all is said, and it fits."""

from __future__ import annotations

from datetime import UTC, datetime

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.frame import properties_size
from worker.core.identity import Identity
from worker.core.letter import FRAME_MAX, Facts, Travel, letter, rfc3339, travel, waiting
from worker.core.message import Message
from worker.core.outcome import Failure
from worker.rabbit.convert import properties_of

IDENTITY = Identity("e-1", "workorder.updated.v1", "/erp", "P-1", "WO-1")
FACTS = Facts(IDENTITY, 1_700_000_000_123_456, 1_700_000_060_000_000, "0.1.0", 3, 70, 2, "letter-1")
FAILURE = Failure("rejected", "Ditio answered 400", "data.name", 400, "nei")
MESSAGE = Message(b"body", {"mine": 1}, {"content_type": "application/json", "message_id": "m"}, "workorders", "key")


def test_a_letter_says_why_and_keeps_the_message() -> None:
    made = letter(MESSAGE, FAILURE, FACTS)
    assert made.body == b"body"
    assert made.properties == {"content_type": "application/json", "message_id": "m", "delivery_mode": 2}
    assert made.headers == {
        "mine": 1,
        "letter-id": "letter-1",
        "failure-reason": "rejected",
        "failure-detail": "Ditio answered 400",
        "failure-field": "data.name",
        "failure-status": 400,
        "failure-response": "nei",
        "failure-at": "2023-11-14T22:14:20.000000Z",
        "attempts": 3,
        "waited-s": 70,
        "first-seen-at": "2023-11-14T22:13:20.123456Z",
        "original-exchange": "workorders",
        "original-routing-key": "key",
        "event-id": "e-1",
        "event-type": "workorder.updated.v1",
        "event-source": "/erp",
        "project": "P-1",
        "external-id": "WO-1",
        "worker-version": "0.1.0",
    }


def test_what_the_broker_acts_on_is_renamed() -> None:
    message = Message(b"", {"CC": ["a"], "BCC": ["b"]}, {"expiration": "100", "user_id": "erp", "priority": 1})
    made = letter(message, FAILURE, FACTS)
    assert not {"CC", "BCC"} & made.headers.keys()
    assert made.properties == {"priority": 1, "delivery_mode": 2}
    originals = {name: made.headers[f"original-{name}"] for name in ("CC", "BCC", "expiration", "user-id")}
    assert originals == {"CC": "['a']", "BCC": "['b']", "expiration": "100", "user-id": "erp"}


def test_no_added_header_begins_with_x_and_the_brokers_own_are_left_behind() -> None:
    message = Message(b"", {"x-death": [{}], "x-first-death-queue": "q", "x-last-death-reason": "r", "x-mine": 1})
    made = letter(message, FAILURE, FACTS)
    assert [name for name in made.headers if name.startswith("x-")] == ["x-mine"]


def test_a_message_that_waits_again_has_one_set_of_headers_and_its_first_place() -> None:
    # Given one that waited, and came back by the default exchange
    once = waiting(MESSAGE, FAILURE, FACTS)
    back = Message(once.body, {**once.headers, "x-death": []}, once.properties, "", "workorders.events")
    # When
    twice = waiting(back, FAILURE, FACTS)
    # Then
    assert twice.headers == once.headers
    assert twice.headers["original-exchange"] == "workorders"


@given(st.integers(0, 10**16), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 7))
def test_how_far_it_came_is_read_back_as_it_was_written(seen: int, attempts: int, waited: int, rounds: int) -> None:
    facts = Facts(IDENTITY, seen, 5, "0", attempts, waited, rounds)
    assert travel(waiting(MESSAGE, FAILURE, facts)) == Travel(seen, attempts, waited, rounds)
    assert travel(waiting(MESSAGE, FAILURE, facts, refused=True)).rejected == FAILURE


@pytest.mark.parametrize("nonsense", ["x", -1, 2**70, True, None, b"5", [], 1.5])
def test_nonsense_in_the_headers_counts_as_nothing(nonsense: object) -> None:
    headers = dict.fromkeys(("first-seen-at", "attempts", "waited-s", "failing-rounds", "refused-to-create"), nonsense)
    assert travel(Message(b"", headers)) == Travel()


@given(st.text(max_size=400))
def test_added_headers_are_cut_between_characters_but_the_external_id_never(text: str) -> None:
    identity = Identity(text, text, text, text, text)
    made = letter(MESSAGE, Failure("rejected", text * 3, text, 400, text * 20), Facts(identity, 0, 0, "0"))
    for name, value in made.headers.items():
        if name not in ("external-id", "failure-response") and isinstance(value, str):
            assert len(value.encode()) <= 256
    assert len(str(made.headers.get("failure-response", "")).encode()) <= 2_000
    assert made.headers.get("external-id", "") == text
    assert (text * 3).startswith(str(made.headers.get("failure-detail", "")))


values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.text(max_size=30)
    | st.binary(max_size=30)
    | st.just(datetime(2026, 1, 1, tzinfo=UTC))
)
tables = st.dictionaries(st.text(min_size=1, max_size=10), values | st.lists(values, max_size=3), max_size=6)


@given(tables)
def test_the_size_of_the_properties_is_reckoned_as_pika_encodes_them(headers: dict[str, object]) -> None:
    message = Message(b"", headers, {"content_type": "x", "message_id": "æ", "priority": 1, "delivery_mode": 2})
    encoded = sum(len(part) for part in pika.BasicProperties.encode(properties_of(message)))
    assert encoded <= properties_size(message.properties, headers) + 8


def test_headers_that_do_not_fit_a_frame_give_way_the_largest_first_and_are_named_to_the_end() -> None:
    # Given
    message = Message(b"", {"big": "x" * 90_000, "middle": "y" * 30_000, "small": "z"}, {"content_type": "t"})
    # When
    once = waiting(Message(b"", {**message.headers, "more": "w" * 8_000}), FAILURE, FACTS)
    back = Message(once.body, once.headers, once.properties)
    made = letter(back, FAILURE, FACTS)
    # Then
    assert "big" not in made.headers
    assert made.headers["middle"] == "y" * 30_000
    assert made.headers["small"] == "z"
    assert str(made.headers["failure-detail"]).startswith("headers dropped for size: big; Ditio answered 400")
    assert properties_size(made.properties, made.headers) < FRAME_MAX


def test_times_are_written_in_utc_with_microseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
