"""FastStream and httpx as their documentation shows them: a look-up and a PATCH for each event. `… AMQP_URL QUEUE API IN_FLIGHT`"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module  # the benchmark's own environment has it, the project's has not
from typing import Any

import httpx


async def main(amqp_url: str, queue: str, api: str, in_flight: int) -> None:
    """Runs until it is killed."""
    rabbit = import_module("faststream.rabbit")
    broker = rabbit.RabbitBroker(amqp_url, default_channel=rabbit.Channel(prefetch_count=in_flight))
    client = httpx.AsyncClient(base_url=f"{api}/core/api/v4/integration/", limits=httpx.Limits(max_connections=in_flight))
    declared = rabbit.RabbitQueue(queue, declare=False)

    async def handle(body: Any) -> None:
        data = json.loads(body)["data"]  # it reads a body by itself only where the content type is plain JSON
        number = data["project"]["number"]
        found = await client.get(f"tasks/by-project-number/{number}/by-task-number/{data['externalId']}/list")
        (await client.patch(f"tasks/{found.json()[0]['id']}", json={"name": data["name"]})).raise_for_status()

    broker.subscriber(declared, ack_policy=import_module("faststream").AckPolicy.NACK_ON_ERROR)(handle)
    async with broker:
        await broker.start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
