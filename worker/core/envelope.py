"""CloudEvents 1.0 over AMQP: where the attributes and the data of an event are in a message.

    structured   content_type application/cloudevents+json, or a body with `specversion`: everything is in the body
    binary       attributes in headers `cloudEvents:id` or `cloudEvents_id`; the body is the data

Errors name an attribute alike in both modes: `time`, not the header.
Sources: CloudEvents 1.0.2, its JSON format and its AMQP protocol binding.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from worker.core.errors import Invalid
from worker.core.message import Message
from worker.core.wording import short, shown

STRUCTURED = "application/cloudevents+json"
CLOUDEVENTS = "application/cloudevents"
PREFIXES = ("cloudEvents:", "cloudEvents_")
LONGEST_ATTRIBUTE = 1024
"""Bytes (UTF-8) of an attribute: what a ledger's index can hold."""

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
TRACEPARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Doubled(dict[str, object]):
    """A JSON object that gives `name` more than once."""

    name: str


class Envelope(msgspec.Struct, frozen=True):
    """The attributes of an event as they came, and its data (None: left out). `binary` says in which mode."""

    attributes: Mapping[str, object]
    data: object
    binary: bool


def opened(message: Message) -> Envelope:
    """The attributes and data of a message. Raises Invalid where it is no CloudEvent in JSON."""
    media = _media_type(message.properties.get("content_type"), "content_type")
    if media.startswith(CLOUDEVENTS) and media != STRUCTURED:
        batch = "publish each event as a message of its own" if "batch" in media else f"expected {STRUCTURED}"
        raise Invalid("content_type", f"{batch}, got {shown(media)}")
    headers = _attributes(message.headers)
    body = _body(message, media)
    if media == STRUCTURED or not headers or (isinstance(body, dict) and "specversion" in body):
        attributes = as_object(body, "", "a CloudEvent (a JSON object)")
        _expect_json(attributes.get("datacontenttype"), "datacontenttype")
        return Envelope(attributes, attributes.get("data"), binary=False)
    _expect_json(media, "content_type")
    return Envelope(headers, body, binary=True)


def attribute(envelope: Envelope, name: str) -> str | None:
    """The text of an attribute (integers and timestamps as text), or None when it is left out or null. Raises Invalid."""
    given = envelope.attributes.get(name)
    match given:
        case None:
            return None
        case str():
            text = given
        case int() if not isinstance(given, bool):
            text = str(given)
        case datetime():
            text = rfc3339(given)
        case _:
            raise Invalid(name, f"expected a text, got {shown(given)}")
    if not text:
        raise Invalid(name, "is empty")
    _expect_plain(text, name)
    return text


def required(envelope: Envelope, name: str) -> str:
    """The text of an attribute that must be there. Raises Invalid."""
    text = attribute(envelope, name)
    if text is None:
        where = f" (header {PREFIXES[0]}{name})" if envelope.binary else ""
        raise Invalid(name, f"required{where}")
    return text


def traceparent(envelope: Envelope, message: Message) -> str | None:
    """The W3C trace context of an event, from the attribute or the plain header; None where it is not well-formed."""
    given = envelope.attributes.get("traceparent", message.headers.get("traceparent"))
    return given if isinstance(given, str) and TRACEPARENT.fullmatch(given) else None


def as_object(value: object, path: str, expected: str = "an object") -> Mapping[str, object]:
    """A JSON object that gives no name twice. Raises Invalid."""
    if not isinstance(value, dict):
        raise Invalid(path, f"expected {expected}, got {shown(value)}")
    if isinstance(value, Doubled):
        raise Invalid(f"{path}.{short(value.name)}" if path else short(value.name), "is given twice")
    return value


def rfc3339(moment: datetime) -> str:
    """A timestamp as text; one without a zone is UTC, as AMQP's are."""
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat()}Z"


def control_character(text: str) -> str | None:
    """The first control character of a text as `U+0000`, if it has one."""
    found = CONTROL.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


def has_lone_surrogate(text: str) -> bool:
    """Whether a text cannot be written as UTF-8 (JSON's escapes can say such things)."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _media_type(given: object, name: str) -> str:
    if given is None:
        return ""
    if not isinstance(given, str):
        raise Invalid(name, f"expected a text, got {shown(given)}")
    return given.partition(";")[0].strip().lower()


def _expect_json(given: object, name: str) -> None:
    media = _media_type(given, name)
    if not (media == "" or media.endswith(("/json", "+json"))):
        raise Invalid(name, f"expected application/json, got {shown(media)}")


def _attributes(headers: Mapping[str, object]) -> Mapping[str, object]:
    found: dict[str, object] = {}
    for header, value in headers.items():
        if isinstance(header, str) and header.startswith(PREFIXES):
            name = header[len(PREFIXES[0]) :]
            if name in found and found[name] != value:
                raise Invalid(short(name), f"is given twice, as {shown(found[name])} and {shown(value)}")
            found[name] = value
    return found


def _body(message: Message, media: str) -> object:
    if not message.body:
        raise Invalid("", "the body is empty")
    try:
        return _parsed(message.body)
    except UnicodeDecodeError as error:
        _expect_json(media, "content_type")
        encoding = message.properties.get("content_encoding")
        said = f" (content_encoding says {shown(encoding)})" if encoding else ""
        raise Invalid("", f"the body is not UTF-8: byte {error.start} is {message.body[error.start]:#04x}{said}") from None
    except RecursionError:
        raise Invalid("", "no valid JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        _expect_json(media, "content_type")
        raise Invalid(
            "", f"no valid JSON: {error.msg[:1].lower()}{error.msg[1:]} (line {error.lineno}, column {error.colno})"
        ) from None
    except ValueError:
        raise Invalid("", "no valid JSON: a number has too many digits") from None


def _parsed(body: bytes) -> object:
    """The stdlib's parser, because it can be told of names that are given twice: msgspec, three times as fast, takes the last.

    It lets pass NaN, infinities and lone surrogates, which are refused where a value is used, and so with their path.
    """
    return DECODER.decode(body.decode())


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    doubled = Doubled(members)
    doubled.name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return doubled


DECODER = json.JSONDecoder(object_pairs_hook=_members)


def _expect_plain(text: str, name: str) -> None:
    if found := control_character(text):
        raise Invalid(name, f"contains the control character {found}")
    if has_lone_surrogate(text):
        raise Invalid(name, "contains a lone surrogate, which is no character")
    if len(text.encode()) > LONGEST_ATTRIBUTE:
        raise Invalid(name, f"is longer than {LONGEST_ATTRIBUTE} bytes")
