"""What the worker needs of memory does not depend on how much waits for it."""

from __future__ import annotations

import asyncio

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, pour, publisher
from tests.support.waiting import eventually
from worker.sandbox import Server

MIB = 1_048_576
SMALL_EVENTS = 50_000
SMALL_LIMIT = 150 * MIB
HELD = 64 * MIB
"""What may be held of bodies."""


async def test_many_small_events_that_wait_take_no_memory(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    async with publisher(vhost.url):
        pass
    bodies = (event("updated", f"WO-{number % 1_000}", id=str(number), name="x" * 3_000).body for number in range(SMALL_EVENTS))
    await asyncio.to_thread(pour, vhost.url, "workorders.events", bodies)
    # When
    worker.start()
    largest = 0
    await worker.ready()
    while worker.metric("events_total") < 500:
        largest = max(largest, worker.memory())
        await asyncio.sleep(0.1)
    # Then
    print(f"resident at most {largest / MIB:.0f} MiB")
    assert largest < SMALL_LIMIT
    assert vhost.depth("workorders.events") > SMALL_EVENTS / 2, "there was always enough that waited"


async def test_large_bodies_are_held_up_to_a_limit_while_the_api_is_slow(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given 200 bodies of 1 MiB, and an API that needs a second
    worker.start(WORKER_MAX_IN_FLIGHT="4", WORKER_MAX_MESSAGE_BYTES="2000000")
    await worker.ready()
    before = worker.memory()
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.5})
    bodies = (event("created", f"WO-{number}", ext={"x": "x" * MIB}, name="x").body for number in range(200))
    await asyncio.to_thread(pour, vhost.url, "workorders.events", bodies)
    # When
    await eventually(lambda: worker.metric("held_bytes") > HELD, 30, what="as much is held as may be")
    largest, most_held = 0, 0.0
    settled = worker.metric("events_total")
    async with asyncio.timeout(30):
        while worker.metric("events_total") < settled + 20:
            largest, most_held = max(largest, worker.memory()), max(most_held, worker.metric("held_bytes"))
            await asyncio.sleep(0.1)
    # Then what is held stays under the limit and one body more, and memory within it and what handling takes
    print(f"held at most {most_held / MIB:.0f} MiB; resident from {before / MIB:.0f} to {largest / MIB:.0f} MiB")
    assert most_held <= HELD + 2 * MIB
    assert largest - before < 4 * HELD
    await eventually(lambda: worker.get("/readyz").startswith("200"), what="it is ready all the while")
