"""Publishing: in order, each confirmed, and what was not is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from datetime import datetime

from worker.cli.files import Found
from worker.cli.publish import UNCONFIRMED, publish_all
from worker.core.errors import BrokerError
from worker.core.message import Message


class Exchange:
    """An exchange that confirms after a turn of the loop, and refuses certain routing keys."""

    def __init__(self, refuses: Collection[str] = ()) -> None:
        self.refuses = refuses
        self.published: list[tuple[str, Message]] = []
        self.open = 0
        self.most_open = 0

    async def publish(self, routing_key: str, message: Message) -> None:
        self.published.append((routing_key, message))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        if routing_key in self.refuses:
            raise BrokerError(f"no queue takes {routing_key}")


def event(number: int, **more: str) -> Found:
    """The event of a line."""
    return Found("events.jsonl", number, json.dumps({"id": str(number), "type": "t", **more}).encode())


async def test_events_go_out_in_order_with_their_type_as_routing_key_and_the_bytes_as_they_are() -> None:
    exchange = Exchange()
    found = [event(number) for number in range(1, 1001)]

    failed = await publish_all(found, exchange, None)

    assert failed == []
    assert [message.body for _, message in exchange.published] == [each.body for each in found]
    assert {key for key, _ in exchange.published} == {"t"}
    assert exchange.most_open <= UNCONFIRMED


async def test_the_message_says_what_it_is_and_survives_a_restart() -> None:
    exchange = Exchange()

    await publish_all([event(7)], exchange, "month-end")

    ((key, message),) = exchange.published
    properties = dict(message.properties)
    assert key == "month-end"
    assert isinstance(properties.pop("timestamp"), datetime)
    assert properties == {
        "content_type": "application/cloudevents+json",
        "delivery_mode": 2,
        "message_id": "7",
        "type": "t",
    }


async def test_what_the_broker_did_not_take_is_named_by_line_and_the_rest_is_published() -> None:
    exchange = Exchange(refuses={"odd"})

    failed = await publish_all([event(1), event(2, type="odd"), event(3)], exchange, None)

    assert [(each.file, each.line, each.detail) for each in failed] == [("events.jsonl", 2, "no queue takes odd")]
    assert len(exchange.published) == 3


async def test_what_no_worker_can_read_is_published_too_when_asked_for() -> None:
    exchange = Exchange()
    bodies = [b"not json", b"[1]", b"[" * 100_000, b"\xff", json.dumps({"id": "x" * 300, "type": "y" * 300}).encode()]

    failed = await publish_all([Found("f", 1, body) for body in bodies], exchange, None)

    assert failed == []
    assert [message.body for _, message in exchange.published] == bodies
    assert all(
        key == "" and set(message.properties) <= {"content_type", "delivery_mode", "timestamp"}
        for key, message in exchange.published
    )


async def test_progress_counts_each_event_also_those_that_fail() -> None:
    counted: list[int] = []

    await publish_all([event(1), event(2, type="odd")], Exchange(refuses={"odd"}), None, lambda: counted.append(1))

    assert len(counted) == 2
