"""A million events wait, and the worker does not notice."""

from __future__ import annotations

import asyncio
import time

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, pour, publisher
from worker.sandbox import Server

MIB = 1_048_576
EVENTS = 1_000_000
WORK_S = 120.0
LIMIT = 150 * MIB


async def test_a_million_events_that_wait_take_no_memory(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    async with publisher(vhost.url):
        pass
    name = "x" * 2_000
    bodies = (event("updated", f"WO-{number % 100_000}", id=str(number), name=name).body for number in range(EVENTS))
    began = time.monotonic()
    await asyncio.to_thread(pour, vhost.url, "workorders.events", bodies)
    print(f"poured in {time.monotonic() - began:.0f} s")
    # When
    worker.start()
    await worker.ready(60)
    largest, until = 0, time.monotonic() + WORK_S
    while time.monotonic() < until:
        largest = max(largest, worker.memory())
        await asyncio.sleep(0.2)
    # Then
    print(f"{worker.metric('events_total'):.0f} events settled, resident at most {largest / MIB:.0f} MiB")
    assert largest < LIMIT
    assert worker.metric("events_total") > 0
