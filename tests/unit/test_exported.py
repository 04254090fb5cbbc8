"""Letters on their way out and back: to the byte, edited, and without what others must not see."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dead import ODD, dead, numbered
from tests.support.publishing import event
from worker.core.dead_letter import original, read
from worker.core.decode import Rules, decode
from worker.core.edited import Edit, differs, edited, made_from
from worker.core.exported import NotExported, line_of, read_line
from worker.core.letter import travel
from worker.core.message import Message
from worker.core.outcome import Failure
from worker.core.redacted import redacted
from worker.dead.returning import Decided, Returned, There, decide

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.decimals(-(2**31), 2**31 - 1, places=2)
    | st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda name: not name.startswith("x-"))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
jsons = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
bodies = (
    st.binary() | jsons.map(lambda value: json.dumps(value).encode()) | st.sampled_from([b'{"a": 1 }', b" 5 ", b"{\n}", b"1e5"])
)


@given(bodies, st.dictionaries(names, values, max_size=5))
def test_a_line_comes_back_to_the_byte(body: bytes, headers: dict[str, object]) -> None:
    message = Message(body, headers, {"content_type": "x", "priority": 3, "timestamp": datetime(2026, 1, 1, tzinfo=UTC)})
    line = line_of("l-1", message)
    assert b"\n" not in line
    json.loads(line)
    told, back = read_line(line)
    assert told.id == "l-1"
    assert back == message
    assert [type(value) for value in back.headers.values()] == [type(value) for value in headers.values()]


def test_a_json_body_stands_in_the_line_as_it_is_and_others_as_text_or_bytes() -> None:
    kinds = [
        next(iter(json.loads(line_of("l", Message(body)))["body"])) for body in (b'{"a":  1}', b"{\n}", b"", b"\xff", b'{"a":1')
    ]
    assert kinds == ["json", "text", "text", "base64", "text"]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"{}",
        b'{"id": "x", "body": {}}',
        b'{"id": "x", "body": {"json": 1, "text": ""}}',
        b'{"id": "x", "body": {"xml": ""}}',
        b'{"id": "x", "body": {"text": 5}}',
        b'{"id": "x", "body": {"base64": "?"}}',
        b'{"id": "x", "body": {"text": ""}, "headers": {"a": {"float": "x"}}}',
        b'{"id": "x", "body": {"text": ""}, "headers": {"a": {"decimal": "x"}}}',
        b'{"id": "x", "body": {"text": ""}, "headers": {"a": {"time": "x"}}}',
        b'{"id": "x", "body": {"text": ""}, "headers": {"a": {"what": 1}}}',
        b'{"id": "x", "body": {"text": ""}, "headers": {"a": {}}}',
    ],
)
def test_what_is_no_line_of_an_export_is_refused(line: bytes) -> None:
    with pytest.raises(NotExported):
        read_line(line)


def test_redacted_letters_keep_names_ids_and_kinds_and_no_value() -> None:
    # Given
    secret = "Kari Nordmann"
    data = {"name": secret, "price": 4711, "ext": {"deep": [secret, 4711]}, "active": True, "finishedDate": None}
    message = dead(event("updated", "WO-1", id="e", **data), 1, Failure("rejected", f'got "{secret}"', "data.name", 400, secret))  # type: ignore[arg-type]
    message = Message(
        message.body, {**message.headers, "x-user": secret, "d": Decimal(4711), "b": secret.encode(), "t": {"u": secret}}
    )
    # When
    shown = redacted(message)
    # Then
    line = line_of("l", shown, redacted=True).decode()
    assert secret not in line
    assert "4711" not in line
    told = json.loads(shown.body)
    assert told["data"]["externalId"] == "WO-1"
    assert told["data"]["active"] is True
    assert told["data"]["name"] == "<text, 13 characters>"
    assert shown.headers["failure-detail"] == 'got "…"'
    assert shown.headers["failure-reason"] == "rejected"
    for odd in (*ODD, Message(b'["x"]'), Message(b'{"a": "Kari"}')):
        assert b"Kari" not in redacted(odd).body


def test_an_edited_letter_counts_after_its_original_and_says_where_it_came_from() -> None:
    # Given
    before = dead(event("updated", "WO-1", id="e", price="abc"), 1, Failure("invalid-event", "expected a number", "data.price"))
    line = line_of(read(before).id, before).replace(b'"abc"', b"12.5").replace(b'"externalId": "WO-1"', b'"externalId": "WO-2"')
    _, message = read_line(line)
    # When
    made = edited(message, before, Edit("ole@laptop", 5_000_000, "new"))
    # Then
    told = read(made)
    assert (told.id, told.repair, told.identity.external_id, told.reason) == ("new", 1, "WO-2", "invalid-event")
    assert (made.headers["edited-by"], made.headers["edited-at"]) == ("ole@laptop", "1970-01-01T00:00:05.000000Z")
    assert made_from(made) == read(before).id
    assert travel(made).repair == 1
    stamps = [
        decode(original(each), Rules(now=2e9)).stamp(3, repair=travel(each).repair)
        for each in (made, edited(message, made, Edit("o", 6, "n")))
    ]
    assert stamps[0] < stamps[1]


def test_only_what_says_something_else_is_an_edit() -> None:
    one = Message(b'{"a": 1.50, "b": "x"}', {"h": 1, "x-delivery-count": 5}, {"content_type": "t"})
    assert not differs(one, Message(b'{"b":"x",\n"a":1.50}', {"h": 1}, {"content_type": "t"}))
    assert differs(one, Message(b'{"a": 1.5, "b": "x"}', {"h": 1}, {"content_type": "t"}))
    assert differs(one, Message(one.body, {"h": 2}, {"content_type": "t"}))
    assert differs(one, Message(one.body, {"h": 1}, {}))
    assert differs(Message(b"\xff"), Message(b"\xfe"))


LETTER = numbered(1)
ID = read(LETTER).id
VALID = Message(LETTER.body.replace(b"Arbeid 1", b"Arbeid A"), LETTER.headers, LETTER.properties)
BROKEN = Message(LETTER.body.replace(b'"name": "Arbeid 1', b'"nmae": "Arbeid 1'), LETTER.headers, LETTER.properties)
MADE = edited(VALID, LETTER, Edit("o", 1, "made"))
THERE, NOT_THERE = There({ID: LETTER}, {}), There({}, {})


@pytest.mark.parametrize(
    ("message", "found", "restore", "action"),
    [
        (LETTER, THERE, False, "unchanged"),
        (VALID, THERE, False, "replace"),
        (BROKEN, THERE, False, "invalid"),
        (LETTER, NOT_THERE, False, "missing"),
        (LETTER, NOT_THERE, True, "restore"),
        (VALID, There({ID: LETTER}, {ID: [MADE]}), False, "finish"),
        (VALID, There({}, {ID: [MADE]}), True, "unchanged"),
        (VALID, There({ID: LETTER}, {ID: [edited(BROKEN, LETTER, Edit("o", 1, "m"))]}), False, "replace"),
    ],
)
def test_what_becomes_of_an_imported_letter_is_decided_from_what_lies_there(
    message: Message, found: There, restore: bool, action: str
) -> None:
    (decided,) = decided_of([Returned("f", 1, ID, message)], found, restore)
    assert decided.action == action
    assert (decided.message is not None) == (action in ("replace", "restore"))
    if action == "invalid":
        assert (decided.field, "unknown field" in decided.detail) == ("data.nmae", True)


def test_redacted_and_repeated_letters_are_not_imported() -> None:
    twice = decided_of([Returned("f", 1, ID, VALID), Returned("f", 2, ID, VALID)], THERE, False)
    assert [each.action for each in twice] == ["replace", "twice"]
    assert decided_of([Returned("f", 1, ID, VALID, redacted=True)], THERE, True)[0].action == "redacted"


def decided_of(returned: list[Returned], found: There, restore: bool) -> list[Decided]:
    """What is decided, with the rules of a worker."""
    rules = Rules(now=2e9)
    return decide(returned, found, lambda message: decode(message, rules), restore=restore, by="ole@laptop", at=1)
