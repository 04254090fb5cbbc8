"""Who an event says it is, as far as can be told: also of a message that cannot be decoded."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from worker.core.envelope import Envelope, attribute, has_lone_surrogate, opened
from worker.core.errors import Invalid
from worker.core.event import Event
from worker.core.message import Message

LARGEST_PEEK = 1_048_576
"""Bytes of a body that is still parsed when it is known to be no valid event."""

LONGEST = 200
"""Characters of a key: a longer one is no key, and is left out rather than cut."""


class Identity(msgspec.Struct, frozen=True):
    """What a letter and a log line say of an event; empty where it cannot be read. `project` is the value as the event gave it."""

    id: str = ""
    type: str = ""
    source: str = ""
    project: str = ""
    external_id: str = ""


def identity(event: Event) -> Identity:
    """The identity of a decoded event."""
    return Identity(event.id, event.type.value, event.source, event.project.value, event.external_id)


def peek(message: Message) -> Identity:
    """What can be read of the identity of a message that cannot be decoded. Raises nothing."""
    body = message.body if len(message.body) <= LARGEST_PEEK else b"null"
    try:
        envelope = opened(Message(body, message.headers, message.properties))
    except Invalid:
        envelope = _headers_only(message)
    data = _object(envelope.data)
    project = _object(data.get("project"))
    named = next((_key(project[name]) for name in ("number", "externalNumber", "id") if name in project), "")
    event_id, kind, source = (_attribute(envelope, name) for name in ("id", "type", "source"))
    return Identity(event_id, kind, source, named, _key(data.get("externalId")))


def labelled(message: Message) -> Identity:
    """What can be told of a message without touching its body: a binary event's attributes, or what an earlier round wrote."""
    envelope = _headers_only(message)
    event_id, kind, source = (_attribute(envelope, name) for name in ("id", "type", "source"))
    wrote = {
        name: _key(message.headers.get(name)) for name in ("event-id", "event-type", "event-source", "project", "external-id")
    }
    return Identity(
        event_id or wrote["event-id"],
        kind or wrote["event-type"],
        source or wrote["event-source"],
        wrote["project"],
        wrote["external-id"],
    )


def _headers_only(message: Message) -> Envelope:
    """The attributes of a binary event whose body is of no use."""
    try:
        return opened(Message(b"null", message.headers, {}))
    except Invalid:
        return Envelope({}, None, binary=False)


def _attribute(envelope: Envelope, name: str) -> str:
    try:
        return attribute(envelope, name) or ""
    except Invalid:
        return ""


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _key(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= LONGEST and not has_lone_surrogate(value) else ""
