"""Hypothesis strategies for messages that are not what they should be: by chance, by mistake, or by malice."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker.core.decode import Rules, decode
from worker.core.errors import Invalid, UnsupportedType
from worker.core.field import FIELDS, REFERENCES
from worker.core.identity import peek
from worker.core.message import Message
from worker.core.tables import Tables

EVENT: Mapping[str, Any] = {
    "specversion": "1.0",
    "type": "workorder.updated.v1",
    "source": "/erp",
    "id": "e-1",
    "time": "2026-03-15T08:00:00.120+01:00",
    "sequence": "42",
    "data": {
        "project": {"number": "P-1"},
        "externalId": "WO-1",
        "name": "Støp",
        "estimatedHourQty": 7.5,
        "finishedDate": "2026-03-15",
    },
}
TYPES = ("created", "updated", "replaced", "deleted", "moved")
CONTENT_TYPES = (
    None, "", "application/cloudevents+json", "application/json; charset=latin-1", "APPLICATION/JSON", "text/plain",
    "application/cloudevents-batch+json", ";", "application/cloudevents+avro", "+json",
)  # fmt: skip
NUMBERS = (
    "1e400", "-1e400", "NaN", "-Infinity", "1" * 5_000, "0.1e-9999", "-0", "00", "1e", "9" * 400, "1" + "0" * 400 + ".0", "0x1F",
)  # fmt: skip
MOMENTS = (
    "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00Z",
    "2026-03-15T24:00:00Z", "2026-03-15T23:59:60Z", "2026-03-15", "2026-10-25T02:30:00", "2026-W11-7", "20260315T080000Z",
    "2026-03-15t08:00:00z", "2026-03-15T08:00:00." + "9" * 500 + "Z", "２０２６-03-15T08:00:00Z", "-2026-03-15T08:00:00Z", "1e9",
    "2026-03-15T08:00:00+99:99", "2026-03-15T08:00:00−01:00", "0001-01-01", "9999-12-31", "0001-01-01T00:00:00Z",
)  # fmt: skip
ODD = (
    "",
    " ",
    "\x00",
    "\ud800",
    "\u202e",
    "\ufeff",
    "e\u0301",
    "𝟙",
    "\u2028",
    "İ",
    "ß" * 201,
    "x" * 2_000,
    "..",
    "/",
    "%2F",
    "\U0010ffff",
)

texts = st.sampled_from((*ODD, *MOMENTS)) | st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
things = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
"""Anything that JSON can say, and some that Python's JSON says besides."""

amqp_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | texts
    | st.binary(max_size=20)
    | st.decimals()
    | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # limits of what it draws
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""A value of every type that an AMQP table may hold."""

names = st.sampled_from(sorted((*FIELDS, *REFERENCES, "status", "ext", "project", "externalId"))) | texts
attributes = st.sampled_from(sorted((*EVENT, "datacontenttype", "traceparent"))) | texts
properties = st.fixed_dictionaries(
    {}, optional={"content_type": st.sampled_from(CONTENT_TYPES).filter(bool) | texts, "content_encoding": texts}
)


def encoded(value: object) -> bytes:
    """As JSON, with what JSON cannot say as Python says it; lone surrogates are escaped, or as bytes that are no UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def garbage(draw: st.DrawFn) -> Message:
    """Bytes of any kind."""
    body = draw(st.binary(max_size=200) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | things.map(encoded))
    return Message(body, draw(st.dictionaries(texts, amqp_values, max_size=2)), draw(properties))


@st.composite
def mutated(draw: st.DrawFn) -> Message:
    """A valid event of which some bytes were changed, lost or doubled."""
    body = bytearray(encoded(EVENT))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 6))
        body[start:end] = draw(
            st.binary(max_size=6) | st.sampled_from((b'"', b"}", b"{", b",", b"[", b"\\u0000", b"\\ud800", b"\xff"))
        )
    return Message(bytes(body), {}, draw(properties))


@st.composite
def mistaken(draw: st.DrawFn) -> Message:
    """An event whose attributes and fields hold anything at all, wherever that may be."""
    data = {**EVENT["data"], **draw(st.dictionaries(names, things, max_size=3))}
    event = {**EVENT, "type": f"workorder.{draw(st.sampled_from(TYPES))}.v1", "data": data}
    event |= draw(st.dictionaries(attributes, things, max_size=2)) if draw(st.booleans()) else {}
    for name in draw(st.lists(st.sampled_from(sorted(event)), max_size=1)):
        del event[name]
    return Message(encoded(event), {}, draw(properties))


@st.composite
def immense(draw: st.DrawFn) -> Message:
    """An event with numbers out of all bounds, or nested as deep as it may be."""
    depth = draw(st.integers(1, 2_000) | st.sampled_from((5_000, 100_000)))
    opening, closing = draw(st.sampled_from((("[", "]"), ('{"a":', "}"))))
    nested = opening * depth + draw(st.sampled_from(("1", "", '"x"'))) + closing * draw(st.sampled_from((depth, depth - 1, 0)))
    value = draw(st.sampled_from(NUMBERS) | st.just(nested))
    body = encoded(EVENT).decode()
    place = draw(st.sampled_from(('"P-1"', '"WO-1"', "7.5", '"1.0"', '"42"', '"e-1"', '"Støp"', '{"number": "P-1"}', body)))
    return Message(body.replace(place, value).encode(), {}, draw(properties))


@st.composite
def binary_mode(draw: st.DrawFn) -> Message:
    """An event in headers, of which some hold a value of any type that AMQP has."""
    prefix = draw(st.sampled_from(("cloudEvents:", "cloudEvents_")))
    headers: dict[str, object] = {f"{prefix}{name}": value for name, value in EVENT.items() if name != "data"}
    headers |= {f"{prefix}{name}": value for name, value in draw(st.dictionaries(attributes, amqp_values, max_size=3)).items()}
    headers |= draw(st.dictionaries(texts, amqp_values, max_size=2))
    body = encoded(EVENT["data"]) if draw(st.booleans()) else draw(things.map(encoded))
    return Message(body, headers, draw(properties))


KINDS: Mapping[str, st.SearchStrategy[Message]] = {
    "garbage": garbage(),
    "mutated": mutated(),
    "mistaken": mistaken(),
    "immense": immense(),
    "binary mode": binary_mode(),
}

RULES = Rules(now=1_800_000_000.0, tables=Tables({"m3": "64f0"}, {"C": {"active": False, "finishedDate": "event-time"}}))


def decoded_or_told(kind: str, examples: int) -> None:
    """Decodes so many different messages of a kind, and tells how many were refused; anything else that is raised fails."""
    ends: Counter[str] = Counter()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(KINDS[kind])
    def decodes(message: Message) -> None:
        try:
            decode(message, RULES)
        except (Invalid, UnsupportedType) as told:
            ends[type(told).__name__ if told.detail else "without a word"] += 1
        else:
            ends["valid"] += 1
        assert peek(message) is not None  # what a letter says of it

    began = time.monotonic()
    decodes()
    print(f"{kind}: {ends.total()} messages in {time.monotonic() - began:.0f} s: {dict(ends)}")
    assert ends.total() >= examples
    assert ends["without a word"] == 0
    assert ends["Invalid"] > examples / 3
