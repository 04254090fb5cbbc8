"""How large a message's properties are on the wire: they must fit in one AMQP frame, or the connection is closed.

Source: AMQP 0-9-1, sections 2.3.5 and 4.2, with RabbitMQ's field types and pika's choice among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

FRAME_OVERHEAD = 8
"""Type, channel, size and end mark of a frame."""

CONTENT_HEADER = 14
"""Class, weight, body size and property flags."""

BROKER_RESERVE = 4096
"""Left free for the headers that the broker adds itself on the way through a wait queue (`x-death` and its kin)."""

FIXED = {"delivery_mode": 1, "priority": 1, "timestamp": 8}


def room(frame_max: int) -> int:
    """The bytes that properties and headers may take in a frame of `frame_max` bytes."""
    return frame_max - FRAME_OVERHEAD - CONTENT_HEADER - BROKER_RESERVE


def properties_size(properties: Mapping[str, object], headers: Mapping[str, object]) -> int:
    """The bytes of basic properties with their headers, without the frame and its content header."""
    basic = sum(FIXED[name] if name in FIXED else 1 + _length(value) for name, value in properties.items())
    return basic + (table_size(headers) if headers else 0)


def table_size(table: Mapping[str, object]) -> int:
    """The bytes of a field table with its length."""
    return 4 + sum(entry_size(name, value) for name, value in table.items())


def entry_size(name: str, value: object) -> int:
    """The bytes of one entry of a field table."""
    return 1 + _length(name) + value_size(value)


def value_size(value: object) -> int:
    """The bytes of a field value with its type mark."""
    match value:
        case None:
            return 1
        case bool():
            return 2
        case int():
            return 5 if type(value) is int and -(2**31) <= value < 2**31 else 9
        case float() | datetime():
            return 9
        case Decimal():
            return 6
        case dict():
            return 1 + table_size(value)
        case list():
            return 5 + sum(value_size(each) for each in value)
        case _:
            return 5 + _length(value)


def _length(value: object) -> int:
    return len(value) if isinstance(value, bytes) else len(str(value).encode(errors="backslashreplace"))
