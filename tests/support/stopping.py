"""Stopping a worker at random moments under load, again and again."""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import UTC, datetime, timedelta

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publisher
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.sandbox import Server

QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")
DRAIN_S = 2.0
LEEWAY_S = 5.0
"""For closing everything (4 s at most), and for a machine that is busy with other tests."""

ORDERS = 40
SHARE = 60
BEGAN = datetime(2026, 3, 2, tzinfo=UTC)


def share(number: int) -> list[Message]:
    """Events for one stop: each work order's name grows with the time of the event."""
    places = range(number * SHARE, (number + 1) * SHARE)
    return [
        event("updated", f"WO-{place % ORDERS}", time=(BEGAN + timedelta(seconds=place)).isoformat(), name=f"{place:06}")
        for place in places
    ]


async def stopped_again_and_again(worker: WorkerProcess, vhost: Vhost, ditio: Server, times: int) -> None:
    """Stops by SIGTERM, at random, so many times, and tells what must hold afterwards."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # Given a Ditio that takes its time, and now and then longer than the drain
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.03})
    for _ in range(times):
        delay_s = chance.choice((0.2, 0.5, 1.0, 4.0))
        ditio.sandbox.faults.add({"operation": "*", "skip": chance.randrange(20, 60), "delay_s": delay_s})
    longest = 0.0
    async with publisher(vhost.url) as to:
        for number in range(times):
            await asyncio.gather(*(to.publish_to("workorders", "a", message) for message in share(number)))
            worker.start(WORKER_DRAIN_S=f"{DRAIN_S:g}", DITIO_TIMEOUT_S="1", DITIO_SETTLE_S="1")
            await eventually(lambda: worker.address() or not worker.running, what="it has begun")
            # When
            await asyncio.sleep(chance.uniform(0.0, 0.8))  # the moment of a random stop, not a wait for anything
            began = time.monotonic()
            assert await asyncio.to_thread(worker.stop) == 0, worker.log()
            longest = max(longest, time.monotonic() - began)
    # Then
    assert longest < DRAIN_S + LEEWAY_S
    assert "Traceback" not in worker.log()
    assert "closing takes too long" not in worker.log()
    worker.start()
    await eventually(
        lambda: vhost.depth(*QUEUES) == 0 and worker.metric("held_bytes") == 0 and vhost.depth(*QUEUES) == 0, 120, what="drained"
    )
    await asyncio.to_thread(worker.stop)
    assert vhost.depth(*QUEUES) == 0
    assert vhost.messages("workorders.dead") == []
    newest = {json.loads(message.body)["data"]["externalId"]: message for part in range(times) for message in share(part)}
    names = {order: json.loads(message.body)["data"]["name"] for order, message in newest.items()}
    tasks = list(ditio.sandbox.state.tasks.values())
    assert {task["externalId"]: task["name"] for task in tasks} == names, "lost, or undone by an older one"
    assert len(tasks) == len(names), "twins"
