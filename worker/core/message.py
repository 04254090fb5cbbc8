"""A broker message as plain values: what the adapter hands over and takes back."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Message(msgspec.Struct, frozen=True):
    """Body, AMQP headers and basic properties of a message, and how it came.

    `properties` uses AMQP's names (`content_type content_encoding delivery_mode priority correlation_id reply_to expiration message_id
    timestamp type user_id app_id cluster_id`) and holds only those that are set; `headers` holds AMQP table values as
    str, int, float, bool, None, bytes, Decimal, datetime (UTC), list and dict.
    """

    body: bytes
    headers: Mapping[str, object] = {}
    properties: Mapping[str, object] = {}
    exchange: str = ""
    routing_key: str = ""
    redelivered: bool = False
