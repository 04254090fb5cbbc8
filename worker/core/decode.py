"""From a message to a valid event, or to a sentence that says why not.

An event is read from the outside in: size, JSON, CloudEvents attributes, type, time, project and externalId, then each field by
the table of its kind. The first rule that is broken is the one that is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from worker.core.date import instant, wire_date
from worker.core.envelope import (
    Envelope,
    as_object,
    attribute,
    control_character,
    has_lone_surrogate,
    opened,
    required,
    traceparent,
)
from worker.core.errors import Invalid, TooFarAhead, UnsupportedType
from worker.core.event import Event, EventType, ProjectKind, ProjectRef, Reference, Withheld
from worker.core.field import DATES, FIELDS, NEVER_NULL, REFERENCES, Kind, Value
from worker.core.message import Message
from worker.core.outcome import UNRESOLVED
from worker.core.stamp import Instant, OrderBy
from worker.core.tables import EVENT_TIME, Tables
from worker.core.wording import meant, short, shown

UnknownFields: TypeAlias = Literal["error", "ignore"]

TYPES: Mapping[str, EventType] = MappingProxyType({each.value: each for each in EventType})
RESERVED = ("workorder.moved.v1", "catalogue.completed.v1")
"""Types that the contract keeps for later."""

PROJECT_KEYS: Mapping[str, ProjectKind] = MappingProxyType({"number": "number", "externalNumber": "externalNumber", "id": "id"})
IDENTITY = ("project", "externalId")
KNOWN = frozenset({*IDENTITY, "ext", *FIELDS, *REFERENCES, "status"})
LONGEST_KEY = 200
"""Characters of an externalId, a project's number or an employee number."""


class Rules(msgspec.Struct, frozen=True):
    """The settings that decoding depends on.

    `now` in seconds since 1970; `max_skew_s` how far ahead of it an event's time may be; `date_zone` an IANA name.
    """

    now: float
    max_skew_s: float = 600
    max_bytes: int = 1_048_576
    order_by: OrderBy = "time"
    unknown_fields: UnknownFields = "error"
    date_zone: str = "Europe/Oslo"
    tables: Tables = Tables()


class Context(msgspec.Struct, frozen=True):
    """What the fields of one event need to know: its time as it was given, and the rules."""

    time: str
    rules: Rules


class Said(msgspec.Struct):
    """What the data of an event says, while it is being read."""

    values: dict[str, Value]
    references: dict[str, Reference]
    withheld: list[Withheld]


def decode(message: Message, rules: Rules) -> Event:
    """The event that a message holds.

    Raises Invalid (with the path of the field and a sentence) or UnsupportedType, and nothing else, whatever the message holds.
    """
    if len(message.body) > rules.max_bytes:
        raise Invalid("", f"the body has {len(message.body)} bytes, and {rules.max_bytes} are allowed (WORKER_MAX_MESSAGE_BYTES)")
    envelope = opened(message)
    if (version := required(envelope, "specversion")) != "1.0":
        raise Invalid("specversion", f'expected "1.0", got {shown(version)}')
    event_id, source, kind = required(envelope, "id"), required(envelope, "source"), _type(required(envelope, "type"))
    context = Context(required(envelope, "time"), rules)
    time = _time(context)
    sequence = _sequence(envelope, rules)
    data = _data(envelope)
    unknown = _unknown(data, rules)
    project = _project(data, rules, unknown)
    external_id = _key(_given(data, "externalId"), "data.externalId")
    said = _said(kind, data, context)
    trace = traceparent(envelope, message)
    return Event(
        kind, source, event_id, time, sequence, project, external_id,
        said.values, said.references, tuple(said.withheld), tuple(unknown), trace,
    )  # fmt: skip


def _type(name: str) -> EventType:
    if name in TYPES:
        return TYPES[name]
    if name in RESERVED:
        raise UnsupportedType("type", f"{name} is reserved for later; this worker does not handle it yet")
    raise UnsupportedType("type", f"{shown(name)} is no type that this worker handles{meant(name, TYPES)}")


def _time(context: Context) -> Instant:
    time = instant(context.time, "time")
    ahead = time.seconds - context.rules.now
    if ahead > context.rules.max_skew_s:
        allowed = context.rules.max_skew_s
        raise TooFarAhead(
            "time", f"{shown(context.time)} is {ahead:.0f} s ahead of now, and {allowed:g} s are allowed (WORKER_MAX_SKEW_S)"
        )
    return time


def _sequence(envelope: Envelope, rules: Rules) -> str | None:
    if rules.order_by == "sequence":
        if envelope.attributes.get("sequence") is None:
            raise Invalid("sequence", "required, because events are ordered by it (WORKER_ORDER_BY=sequence)")
        return required(envelope, "sequence")
    return attribute(envelope, "sequence")


def _data(envelope: Envelope) -> Mapping[str, object]:
    if "data_base64" in envelope.attributes:
        raise Invalid("data_base64", "is not supported: give the data as a JSON object in data")
    if not envelope.binary and "data" not in envelope.attributes:
        raise Invalid("data", "required")
    return as_object(envelope.data, "data")


def _unknown(data: Mapping[str, object], rules: Rules) -> list[str]:
    """The paths of the fields that the contract does not know, where these may pass."""
    unknown = [name for name in data if name not in KNOWN]
    if unknown and rules.unknown_fields == "error":
        raise Invalid(f"data.{short(unknown[0])}", f"unknown field{meant(unknown[0], KNOWN)}")
    return [f"data.{short(name)}" for name in unknown]


def _project(data: Mapping[str, object], rules: Rules, unknown: list[str]) -> ProjectRef:
    given = as_object(_given(data, "project"), "data.project")
    others = [name for name in given if name not in PROJECT_KEYS]
    if others and rules.unknown_fields == "error":
        raise Invalid(f"data.project.{short(others[0])}", f"unknown field{meant(others[0], PROJECT_KEYS)}")
    unknown += [f"data.project.{short(name)}" for name in others]
    names = [name for name in given if name in PROJECT_KEYS]
    if len(names) != 1:
        raise Invalid("data.project", f"expected one of {_listed(PROJECT_KEYS)}, got {_listed(names)}")
    return ProjectRef(PROJECT_KEYS[names[0]], _key(given[names[0]], f"data.project.{names[0]}"))


def _said(kind: EventType, data: Mapping[str, object], context: Context) -> Said:
    said = Said({}, {}, [])
    if kind is EventType.DELETED:
        if extra := [name for name in data if name in KNOWN and name not in (*IDENTITY, "ext")]:
            raise Invalid(f"data.{extra[0]}", "not allowed: a deleted event holds project and externalId only")
        return said
    for name, given in data.items():
        path = f"data.{name}"
        if given is None and name in NEVER_NULL:
            raise Invalid(path, "must not be null: it cannot be cleared, leave it out to keep it")
        if name in FIELDS:
            said.values[name] = None if given is None else CONVERTERS[FIELDS[name]](given, path, context)
        elif name in REFERENCES:
            _refer(said, name, given, data, context.rules)
    if "status" in data:
        _set_by_status(said, _key(data["status"], "data.status"), data, context)
    if kind is EventType.REPLACED and not _says_active(said):
        raise Invalid("data.active", "required in a replaced event (or a status that sets it)")
    return said


def _refer(said: Said, name: str, given: object, data: Mapping[str, object], rules: Rules) -> None:
    """Reads one of `parent`, `mainForeman`, `taskLeader`, `unit`. Raises Invalid."""
    path, field = f"data.{name}", REFERENCES[name]
    if field in data:
        raise Invalid(path, f"given together with {field}, which is the same field in Ditio: give one of them")
    if given is None:
        said.values[field] = None
        return
    key = _key(given, path)
    if name != "unit":
        said.references[field] = Reference("parent" if name == "parent" else "person", key, path)
    elif key in rules.tables.unit:
        said.values[field] = rules.tables.unit[key]
    else:
        said.withheld.append(_not_in_table("unit", key, rules.tables.unit))


def _set_by_status(said: Said, status: str, data: Mapping[str, object], context: Context) -> None:
    """Lays over what a status means. Raises Invalid where the event says the same fields itself."""
    table = context.rules.tables.status
    if status not in table:
        said.withheld.append(_not_in_table("status", status, table))
        return
    for field, value in table[status].items():
        twice = next((name for name in data if name == field or REFERENCES.get(name) == field), None)
        if twice:
            raise Invalid(
                f"data.{twice}", f"given together with the status {shown(status)}, which sets {field}: give one of them"
            )
        timed = field in DATES and value == EVENT_TIME
        said.values[field] = wire_date(context.time, context.rules.date_zone, "time") if timed else value


def _says_active(said: Said) -> bool:
    """Whether `active` is given, or may be: nobody knows what a status that is not in the table would set."""
    return "active" in said.values or any(each.kind == "status" for each in said.withheld)


def _not_in_table(kind: Literal["unit", "status"], key: str, table: Mapping[str, object]) -> Withheld:
    detail = f"the {kind} {shown(key)} is not in WORKER_TABLES_FILE{meant(key, table)}"
    return Withheld(kind, UNRESOLVED[kind], f"data.{kind}", detail, wait=False, sets=REFERENCES.get(kind, ""))


def _given(data: Mapping[str, object], name: str) -> object:
    if data.get(name) is None:
        raise Invalid(f"data.{name}", "required")
    return data[name]


def _key(given: object, path: str) -> str:
    """The name of something outside the event: 1 to 200 characters, no control characters, no outer blanks. Raises Invalid."""
    key = _encodable(given, path)
    if not key:
        raise Invalid(path, "is empty")
    if len(key) > LONGEST_KEY:
        raise Invalid(path, f"is {len(key)} characters long, and {LONGEST_KEY} are allowed")
    if found := control_character(key):
        raise Invalid(path, f"contains the control character {found}")
    if key != key.strip():
        raise Invalid(path, f"begins or ends with a blank: {shown(key)}")
    return key


def _encodable(given: object, path: str) -> str:
    if not isinstance(given, str):
        raise Invalid(path, f"expected a text, got {shown(given)}")
    if has_lone_surrogate(given):
        raise Invalid(path, "contains a lone surrogate, which is no character")
    return given


def _text(given: object, path: str, _context: Context) -> str:
    text = _encodable(given, path)
    if "\0" in text:
        raise Invalid(path, "contains the control character U+0000")
    return text


def _number(given: object, path: str, _context: Context) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise Invalid(path, f"expected a number, got {shown(given)}")
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Invalid(path, f"expected a finite number of double precision, got {shown(given)}")
    return number + 0.0  # -0.0 becomes 0.0: one number, one form


def _flag(given: object, path: str, _context: Context) -> bool:
    if not isinstance(given, bool):
        raise Invalid(path, f"expected true or false, got {shown(given)}")
    return given


def _date(given: object, path: str, context: Context) -> str:
    if not isinstance(given, str):
        raise Invalid(path, f"expected a date such as 2026-03-15, got {shown(given)}")
    return wire_date(given, context.rules.date_zone, path)


def _id(given: object, path: str, _context: Context) -> str:
    if given == "":
        raise Invalid(path, "is empty: null clears it")
    return _key(given, path)


CONVERTERS: Mapping[Kind, Callable[[object, str, Context], Value]] = MappingProxyType(
    {Kind.TEXT: _text, Kind.NUMBER: _number, Kind.FLAG: _flag, Kind.DATE: _date, Kind.ID: _id}
)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none of them"
