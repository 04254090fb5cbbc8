"""SIGTERM while requests wait: for the end of a 429, for another attempt, for their turn. Nothing is put aside, and it is over soon."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Request, Server
from worker.sandbox.admin import administer


@pytest.mark.parametrize("status", [429, 503])
async def test_a_worker_that_waits_for_ditio_stops_at_once_and_leaves_its_events_with_the_broker(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, status: int
) -> None:
    # Given a Ditio that asks for half a minute of quiet
    for operation in ("task_find", "task_list"):
        fault = {"operation": operation, "status": status, "headers": {"Retry-After": "30"}, "count": -1}
        administer(ditio.sandbox, Request("POST", "/_sandbox/faults", body=json.dumps(fault).encode()))
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("created", f"WO-{number}", name="x") for number in range(30)])
    await eventually(lambda: ditio.sandbox.counts["task_find", str(status)] >= 1, what="it was told to wait")
    # When
    began = time.monotonic()
    assert await asyncio.to_thread(worker.stop) == 0
    # Then
    assert time.monotonic() - began < 8
    await eventually(lambda: vhost.depth("workorders.events") == 30, what="all events are with the broker")
    assert vhost.depth("workorders.dead", "workorders.wait.1s", "workorders.wait.2s") == 0
