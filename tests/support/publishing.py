"""Publishing as an ERP does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing

import pika

from worker.core.message import Message
from worker.rabbit import Access, Publisher, connect, declare
from worker.topology import Topology

TIME = "2026-03-15T08:00:00Z"


def event(kind: str, external_id: str, *, time: str = TIME, id: str = "", project: str = "P-2026-001", **data: object) -> Message:
    """A structured event; its id is made of what it is about, unless given."""
    body = {
        "specversion": "1.0",
        "type": f"workorder.{kind}.v1",
        "source": "/erp/test",
        "id": id or f"{kind}-{external_id}-{time}",
        "time": time,
        "data": {"project": {"number": project}, "externalId": external_id, **data},
    }
    return Message(json.dumps(body, ensure_ascii=False).encode(), {}, {"content_type": "application/cloudevents+json"})


@asynccontextmanager
async def publisher(url: str, topology: Topology | None = None) -> AsyncIterator[Publisher]:
    """A publisher to a broker that has the topology (wait steps of 1 and 2 s unless given)."""
    access = Access(lambda: (url,))
    connection = await connect(access, "test")
    await declare(connection, topology or Topology(wait_steps=(1, 2)))
    await connection.close()
    open_publisher = Publisher(access)
    try:
        yield open_publisher
    finally:
        await open_publisher.close()


async def publish_all(url: str, messages: Iterable[Message]) -> None:
    """Publishes messages in order, each confirmed."""
    async with publisher(url) as to:
        await asyncio.gather(*(to.publish_to("workorders", message.routing_key or "workorder", message) for message in messages))


def pour(url: str, queue: str, bodies: Iterable[bytes]) -> None:
    """Publishes many bodies to a queue as fast as the broker takes them: one confirm for all of them is the last message's."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        properties = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)
        for number, body in enumerate(bodies):
            channel.basic_publish("", queue, body, properties)
            if number % 1_000 == 0:
                connection.process_data_events(0)  # hears of a broker that wants to be spared
        channel.confirm_delivery()
        channel.basic_publish("", queue, event("deleted", "WO-last", id="last").body, properties)
