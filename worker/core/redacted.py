"""Messages without what they say about people, places and prices: for a ticket. Names of fields, ids, times and kinds of values stay."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from worker.core.envelope import PREFIXES
from worker.core.message import Message

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def redacted(message: Message) -> Message:
    """The message, fit to be shown to others."""
    headers = {name: value if _tells(name) else _hidden(value) for name, value in message.headers.items()}
    if isinstance(detail := message.headers.get("failure-detail"), str):
        headers["failure-detail"] = _without_quotes(detail)
    return Message(_redacted_body(message.body), headers, message.properties)


TELLING = frozenset(
    {
        "letter-id", "failure-reason", "failure-field", "failure-status", "failure-at", "attempts", "waited-s", "first-seen-at",
        "event-id", "event-type", "event-source", "project", "external-id", "worker-version", "original-exchange",
        "original-routing-key", "replay-count", "replay-id", "repair-count", "failing-rounds", "refused-to-create", "traceparent",
    }
)  # fmt: skip
"""Headers that hold ids, times, numbers and words of closed sets only."""

ATTRIBUTES = frozenset({"specversion", "id", "source", "type", "time", "sequence", "datacontenttype", "traceparent"})
KEYS = frozenset({"project", "externalId", "number", "externalNumber"})


def _tells(name: str) -> bool:
    return name in TELLING or (name.startswith(PREFIXES) and name[len(PREFIXES[0]) :] in ATTRIBUTES)


def _redacted_body(body: bytes) -> bytes:
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        return f"<{len(body)} bytes>".encode()
    if not isinstance(value, dict):
        return msgspec.json.encode(_hidden(value))
    if "specversion" not in value:
        return msgspec.json.encode(_data(value))
    told = {name: each if name in ATTRIBUTES else _hidden(each) for name, each in value.items()}
    if isinstance(data := value.get("data"), dict):
        told["data"] = _data(data)
    return msgspec.json.encode(told)


def _data(data: Mapping[str, object]) -> dict[str, object]:
    return {name: each if name in KEYS else _hidden(each) for name, each in data.items()}


def _hidden(value: object) -> object:
    """What kind of value it is, and how much of it."""
    match value:
        case None | bool():
            return value
        case int() | float() | Decimal():
            return "<number>"
        case str():
            return f"<text, {len(value)} characters>"
        case bytes():
            return f"<{len(value)} bytes>"
        case list():
            return [_hidden(each) for each in value]
        case dict():
            return {name: _hidden(each) for name, each in value.items()}
        case _:
            return "<value>"


def _without_quotes(sentence: str) -> str:
    """A sentence without what it quotes from the event."""
    parts = sentence.split('"')
    return '"…"'.join(parts[::2])
