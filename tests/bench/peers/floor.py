"""The floor: pika on asyncio and pyreqwest, one PATCH for each event, nothing else. `floor.py AMQP_URL QUEUE API IN_FLIGHT`"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module  # the benchmark's own environment has them, the project's has not
from typing import Any

import pika
import uvloop
from pika.adapters.asyncio_connection import AsyncioConnection


async def main(amqp_url: str, queue: str, api: str, in_flight: int) -> None:
    """Runs until it is killed."""
    client = import_module("pyreqwest.client").ClientBuilder().build()
    tasks = set()

    async def handle(channel: Any, tag: int, body: bytes) -> None:
        data = json.loads(body)["data"]
        url = f"{api}/core/api/v4/integration/tasks/t-{data['externalId']}"
        content = json.dumps({"name": data["name"]}).encode()
        response = await client.patch(url).header("content-type", "application/json").body_bytes(content).build().send()
        await response.bytes()
        channel.basic_ack(tag)

    def take(channel: Any, method: Any, _: Any, body: bytes) -> None:
        tasks.add(task := asyncio.ensure_future(handle(channel, method.delivery_tag, body)))
        task.add_done_callback(tasks.discard)

    def consume(channel: Any) -> None:
        channel.basic_qos(prefetch_count=in_flight, callback=lambda _: channel.basic_consume(queue, take))

    loop = asyncio.get_running_loop()
    AsyncioConnection(pika.URLParameters(amqp_url), lambda it: it.channel(on_open_callback=consume), custom_ioloop=loop)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
