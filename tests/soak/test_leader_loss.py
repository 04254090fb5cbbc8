"""Three RabbitMQ nodes, of which the one that leads the queue is killed every 20 s."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.support.broker import Vhost
from tests.support.cluster import Cluster
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Server

ROUNDS = 12
EVERY_S = 20.0
EVENTS = 15_000
QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s", "workorders.dead")


async def test_the_leader_is_killed_again_and_again_and_nothing_is_lost_or_doubled(
    cluster: Cluster, clustered: Vhost, ditio: Server, tmp_path: Path
) -> None:
    # Given
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.2})
    for start in range(0, EVENTS, 5_000):
        await publish_all(clustered.url, [event("created", f"WO-{number}", name="x") for number in range(start, start + 5_000)])
    worker = WorkerProcess(settings(cluster.urls(clustered), ditio, tmp_path, WORKER_MAX_IN_FLIGHT="12"), tmp_path)
    try:
        worker.start()
        await worker.ready()
        slowest = 0.0
        for _ in range(ROUNDS):
            # When
            leader = await asyncio.to_thread(cluster.leader, clustered, "workorders.events")
            await asyncio.to_thread(leader.kill)
            killed, count = time.monotonic(), len(ditio.sandbox.state.tasks)
            # Then it works on within 40 s, mostly before the node is there again
            await eventually(lambda count=count: len(ditio.sandbox.state.tasks) > count + 64, 40)  # type: ignore[misc]  # a default
            slowest = max(slowest, time.monotonic() - killed)
            await asyncio.to_thread(leader.start)
            await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - killed)))
        print(f"worked on after {slowest:.1f} s at most; {len(ditio.sandbox.state.tasks)} tasks so far")
        ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0})
        await eventually(lambda: len(ditio.sandbox.state.tasks) >= EVENTS, 300, what="all are applied")
        await eventually(lambda: clustered.depth(*QUEUES) == 0, 120, what="nothing is left, and nothing dead")
        names = sorted(str(task["externalId"]) for task in ditio.sandbox.state.tasks.values())
        assert names == sorted(f"WO-{number}" for number in range(EVENTS))
    finally:
        worker.kill()
