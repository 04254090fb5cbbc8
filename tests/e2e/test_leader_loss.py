"""Three RabbitMQ nodes, and the one that leads the queue is killed at work."""

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

EVENTS = 600


async def test_the_leader_is_killed_under_load_and_the_worker_goes_on(
    cluster: Cluster, clustered: Vhost, ditio: Server, tmp_path: Path
) -> None:
    # Given a worker that is connected to the leader of its queue
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.05})
    await publish_all(clustered.url, [event("created", f"WO-{number}", name="x") for number in range(EVENTS)])
    leader = cluster.leader(clustered, "workorders.events")
    worker = WorkerProcess(settings(cluster.urls(clustered, first=leader), ditio, tmp_path), tmp_path)
    try:
        worker.start()
        await worker.ready()
        await eventually(lambda: len(ditio.sandbox.state.tasks) > 50)
        # When
        await asyncio.to_thread(leader.kill)
        killed = time.monotonic()
        # Then
        await eventually(lambda: "consumption pauses" in worker.log(), what="it notices")
        await worker.ready(40)
        await eventually(lambda: len(ditio.sandbox.state.tasks) >= EVENTS, 40, what="all are applied")
        assert time.monotonic() - killed < 40
        assert len({task["externalId"] for task in ditio.sandbox.state.tasks.values()}) == len(ditio.sandbox.state.tasks)
        assert worker.metric("dead_letters_total") == 0
    finally:
        worker.kill()
        await asyncio.to_thread(leader.start)  # so that the vhost can be removed
