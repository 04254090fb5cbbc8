"""What a message among the dead letters says of itself: the headers that `letter` wrote, read with mistrust, for anybody may publish there.

read(message)         a DeadLetter: what lists, selections and replays need, without the body
identity_of(message)  its `letter-id`; for a message that no worker wrote, one that is derived from what it holds
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from sys import intern
from types import MappingProxyType

import msgspec

from worker.core.identity import Identity, peek
from worker.core.letter import ADDED, BROKERS_OWN, DROPPED, EPOCH, MICROSECOND, ORIGINAL, PERSISTENT, REASONS, count_in, time_in
from worker.core.message import Message
from worker.core.outcome import Reason

LONGEST_ID = 64
"""Characters of a letter's id: a longer one is none of ours."""

LONGEST_TEXT = 256
"""Bytes of a header as the worker writes it: what is longer was written by somebody else, and is cut."""


NOTHING: Mapping[str, object] = MappingProxyType({})


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A dead letter without its body; empty where it says nothing, or nonsense.

    `reason` is None for a message that no worker wrote (or whose reason is none of the closed set), and `foreign` says that its `id` is
    derived. `failed_at` and `first_seen` are microseconds since 1970; `failed_at` of a foreign message is its AMQP timestamp, if it has one.
    `attempts` counts requests to Ditio, `waited_s` seconds of wait steps, `repair` edits, `replays` replays, `size` the bytes of the body.
    """

    id: str
    identity: Identity
    reason: Reason | None = None
    detail: str = ""
    field: str = ""
    status: int | None = None
    failed_at: int | None = None
    first_seen: int | None = None
    attempts: int = 0
    waited_s: int = 0
    repair: int = 0
    replays: int = 0
    replay_id: str = ""
    replayed_by: str = ""
    exchange: str = ""
    routing_key: str = ""
    size: int = 0
    foreign: bool = False

    @property
    def work_order(self) -> tuple[str, str] | None:
        """The work order that it is about, as far as the event named it: project (as given) and external id."""
        named = (self.identity.project, self.identity.external_id)
        return named if all(named) else None


def read(message: Message) -> DeadLetter:
    """What a message among the dead letters says of itself. Raises nothing."""
    headers = message.headers
    letter_id = _id(headers)
    return DeadLetter(
        letter_id or _derived(message),
        _identity(headers) if letter_id else peek(message),
        REASONS.get(_text(headers, "failure-reason")),
        intern(_text(headers, "failure-detail")),
        intern(_text(headers, "failure-field")),
        count_in(headers.get("failure-status")) or None,
        time_in(headers.get("failure-at")) if letter_id else _published(message),
        time_in(headers.get("first-seen-at")),
        count_in(headers.get("attempts")),
        count_in(headers.get("waited-s")),
        count_in(headers.get("repair-count")),
        count_in(headers.get("replay-count")),
        intern(_text(headers, "replay-id")),
        intern(_text(headers, "replayed-by")),
        intern(_text(headers, "original-exchange")),
        intern(_text(headers, "original-routing-key")),
        len(message.body),
        not letter_id,
    )


def original(message: Message) -> Message:
    """The event as it was before it died, with where it was published: without what letters and the broker have added.

    What belongs to its place in the order stays: when it was first seen, and how often it was edited.
    """
    headers = {name: value for name, value in message.headers.items() if not _added(str(name))}
    exchange, routing_key = (_text(message.headers, name) for name in ("original-exchange", "original-routing-key"))
    return Message(message.body, headers, message.properties, exchange, routing_key)


def decodable(message: Message) -> Message:
    """What decoding the event needs of a letter, in little memory: what is alike in many is there once."""
    headers = {name: value for name, value in original(message).headers.items() if name != "first-seen-at"}
    content_type = message.properties.get("content_type")
    return Message(message.body, headers or NOTHING, _typed(content_type) if isinstance(content_type, str) else NOTHING)


@lru_cache(maxsize=64)
def _typed(content_type: str) -> Mapping[str, object]:
    return MappingProxyType({"content_type": content_type})


def response(message: Message) -> str:
    """What Ditio answered, as far as the letter keeps it."""
    given = message.headers.get("failure-response")
    return given if isinstance(given, str) else ""


def identity_of(message: Message) -> str:
    """A letter's id. Raises nothing."""
    return _id(message.headers) or _derived(message)


def _added(name: str) -> bool:
    return (name in ADDED and name != "first-seen-at") or name == DROPPED or name.startswith((ORIGINAL, "x-"))


def _id(headers: Mapping[str, object]) -> str:
    given = headers.get("letter-id")
    return given if isinstance(given, str) and 0 < len(given) <= LONGEST_ID and given.isprintable() and given.isascii() else ""


def _derived(message: Message) -> str:
    """The same each time that the message is delivered, also when it was put back: what is added on the way does not count."""
    kept = sorted((str(name), repr(value)) for name, value in message.headers.items() if not str(name).startswith(BROKERS_OWN))
    properties = sorted((name, value) for name, value in message.properties.items() if name not in PERSISTENT)
    told = repr((kept, properties))
    return sha256(told.encode(errors="backslashreplace") + b"\0" + message.body).hexdigest()[:32]


def _identity(headers: Mapping[str, object]) -> Identity:
    return Identity(
        _text(headers, "event-id"),
        intern(_text(headers, "event-type")),
        intern(_text(headers, "event-source")),
        intern(_text(headers, "project")),
        _external_id(headers),
    )


def _external_id(headers: Mapping[str, object]) -> str:
    given = headers.get("external-id")
    return given if isinstance(given, str) else ""


def _text(headers: Mapping[str, object], name: str) -> str:
    given = headers.get(name)
    if not isinstance(given, str):
        return ""
    return given if len(given) <= LONGEST_TEXT else given.encode()[:LONGEST_TEXT].decode(errors="ignore")


def _published(message: Message) -> int | None:
    """When a message was published, by its AMQP timestamp (whole seconds)."""
    given = message.properties.get("timestamp")
    if isinstance(given, datetime):
        return (given.astimezone(UTC) - EPOCH) // MICROSECOND
    return count_in(given) * 1_000_000 or None
