"""pika's properties and header values, to plain values and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pika
from pika.spec import Basic

from worker.core.message import Message

PROPERTIES = (
    "content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to", "expiration",
    "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id",
)  # fmt: skip


def message_of(method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> Message:
    """A delivery as plain values."""
    given = {name: getattr(properties, name) for name in PROPERTIES}
    return Message(
        body,
        plain(properties.headers or {}),
        {name: plain(value) for name, value in given.items() if value is not None},
        method.exchange,
        method.routing_key,
        bool(method.redelivered),
    )


def properties_of(message: Message) -> pika.BasicProperties:
    """The properties to publish a message with: always persistent."""
    given = {name: value for name, value in message.properties.items() if name in PROPERTIES}
    if isinstance(published := given.get("timestamp"), datetime):
        given["timestamp"] = int(published.timestamp())
    return pika.BasicProperties(**{**given, "headers": dict(message.headers) or None, "delivery_mode": 2})


def plain(value: Any) -> Any:
    """A header value without pika's own kinds of integers, which few libraries know, and with names that are texts, also where they are no UTF-8."""
    match value:
        case bool():
            return value
        case int():
            return int(value)
        case list():
            return [plain(each) for each in value]
        case dict():
            return {
                name if isinstance(name, str) else name.decode(errors="backslashreplace"): plain(each)
                for name, each in value.items()
            }
        case _:
            return value
