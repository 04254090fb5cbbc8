"""Repairs of many letters at once: what `--set` says, laid over the event in a letter.

    time=-1h    data.unit=m3    data.price=12.5    data.finishedDate=null    data.project={"number": "P-2"}

A value is JSON where the field is a number or a flag, or where it is null, an object, a list or a text in quotes; else it is the text as
it stands, so that a number of an employee or a project stays a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from worker.core.date import instant
from worker.core.dead_letter import read
from worker.core.edited import EDITED_AT, EDITED_BY, EDITED_FROM, REPAIR
from worker.core.envelope import PREFIXES, Doubled, Envelope, opened, required
from worker.core.errors import Invalid
from worker.core.field import FIELDS, Kind
from worker.core.letter import LARGEST_INTEGER, LONGEST_HEADER, rfc3339
from worker.core.message import Message
from worker.core.replayed import Run
from worker.core.stamp import Instant
from worker.core.wording import shown

EDITED_SET = "edited-set"
"""Header of a letter that was repaired by `--set`: what was set."""

PATH = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9_-]*)*")
SHIFT = re.compile(r"([+-])([0-9]{1,9})([smhdw])")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
FIXED = frozenset({"id", "specversion", "data"})
"""What cannot be the same for many events, or is no value."""


class NoRepair(ValueError):
    """A text that is no repair; the message says why."""


class Repair(msgspec.Struct, frozen=True):
    """A value for a place in an event. `shift` (seconds) is laid upon the time that is there; `text` is how it was given."""

    text: str
    path: tuple[str, ...]
    value: Any = None
    shift: int | None = None


def repair(text: str) -> Repair:
    """What a text such as `data.unit=m3` says. Raises NoRepair."""
    name, given, value = text.partition("=")
    if not given or not PATH.fullmatch(name):
        raise NoRepair(f"{text!r} is no repair: expected PATH=VALUE, such as data.unit=m3 or time=-1h")
    path = tuple(name.split("."))
    if path[0] in FIXED and len(path) == 1:
        raise NoRepair(f"{name} cannot be set")
    if path[0] != "data" and len(path) > 1:
        raise NoRepair(f"there is no {name}: what is not an attribute begins with data.")
    if path == ("time",):
        return _time(text, value)
    return Repair(text, path, _value(path, value))


def repaired(message: Message, repairs: Sequence[Repair], run: Run) -> Message:
    """A letter with the repairs laid over its event, and in its headers by whom, when and what. Raises Invalid where that cannot be done."""
    envelope = opened(message)
    attributes, data = dict(envelope.attributes), envelope.data
    if _doubled(attributes) or _doubled(data):
        raise Invalid("", "a name is given twice: which of the two is meant only its sender knows")
    for each in repairs:
        if each.shift is not None:
            attributes["time"] = _shifted(envelope, each.shift)
        elif each.path[0] == "data":
            data = _laid(data, each.path[1:], each.value, "data")
        else:
            attributes[each.path[0]] = each.value
    letter = read(message)
    headers = {
        **_headers(message, attributes, envelope),
        REPAIR: min(letter.repair + 1, LARGEST_INTEGER),
        EDITED_FROM: letter.id,
        EDITED_BY: _cut(run.by),
        EDITED_AT: rfc3339(run.at),
        EDITED_SET: _cut("; ".join(each.text for each in repairs)),
    }
    body = data if envelope.binary else attributes | {"data": data}
    return Message(_written(body), headers, message.properties, message.exchange, message.routing_key)


def _time(text: str, value: str) -> Repair:
    if found := SHIFT.fullmatch(value):
        sign = -1 if found[1] == "-" else 1
        return Repair(text, ("time",), shift=sign * int(found[2]) * SECONDS[found[3]])
    try:
        instant(value, "time")
    except Invalid as error:
        raise NoRepair(f"{text!r} is no repair: time {error.detail}; or a shift such as -1h") from None
    return Repair(text, ("time",), value)


def _value(path: tuple[str, ...], text: str) -> object:
    if path[0] != "data":
        return None if text == "null" else text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    bare = isinstance(value, int | float)  # true and false too
    takes = path[1] == "ext" or FIELDS.get(path[1]) in (Kind.NUMBER, Kind.FLAG)
    return text if bare and not takes else value


def _laid(data: object, path: tuple[str, ...], value: object, where: str) -> object:
    """The data with a value at a path; objects that are missing on the way are made. Raises Invalid."""
    if not path:
        return value
    if data is not None and not isinstance(data, dict):
        raise Invalid(where, f"is no object, got {shown(data)}")
    inner = (data or {}).get(path[0])
    return {**(data or {}), path[0]: _laid(inner, path[1:], value, f"{where}.{path[0]}")}


def _shifted(envelope: Envelope, seconds: int) -> str:
    at = instant(required(envelope, "time"), "time")
    return Instant(at.seconds + seconds, at.fraction).rfc3339()


def _headers(message: Message, attributes: Mapping[str, object], envelope: Envelope) -> dict[str, object]:
    """The headers, with the attributes of a binary event where they are; one that is cleared goes."""
    if not envelope.binary:
        return dict(message.headers)
    changed = {name: value for name, value in attributes.items() if envelope.attributes.get(name) != value}
    kept = {
        name: value
        for name, value in message.headers.items()
        if not (name.startswith(PREFIXES) and name[len(PREFIXES[0]) :] in changed)
    }
    return kept | {f"{PREFIXES[0]}{name}": value for name, value in changed.items() if value is not None}


def _written(body: object) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Invalid("", "contains a lone surrogate, which is no character") from None


def _doubled(value: object) -> bool:
    if isinstance(value, dict):
        return isinstance(value, Doubled) or any(_doubled(each) for each in value.values())
    return isinstance(value, list) and any(_doubled(each) for each in value)


def _cut(text: str) -> str:
    return text.encode()[:LONGEST_HEADER].decode(errors="ignore")
