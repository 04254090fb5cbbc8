"""Outages at full size: ten minutes, ten thousand events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Server

QUEUES = ("workorders.events", "workorders.wait.10s", "workorders.wait.1m", "workorders.wait.10m", "workorders.wait.1h")
WRITES = ("task_create", "task_update", "task_replace", "task_delete")
PAGE = "<html><body>Scheduled maintenance</body></html>"
EVENTS = 10_000
MOST_IN_FLIGHT = 64


@pytest.mark.parametrize(
    ("minutes", "operations", "fault", "letters"),
    [
        (10, ("*",), {"status": 503}, 0),
        (5, ("*",), {"status": 404, "body": PAGE}, 0),
        (5, ("*",), {"status": 200, "body": PAGE}, 0),
        (5, WRITES, {"status": 403}, 1),
        (5, WRITES, {"status": 500}, 0),
    ],
)
async def test_ten_thousand_events_outlast_an_outage(
    worker: WorkerProcess,
    vhost: Vhost,
    ditio: Server,
    minutes: float,
    operations: tuple[str, ...],
    fault: Mapping[str, Any],
    letters: int,
) -> None:
    # Given the wait steps of production, and work under way
    worker._settings.pop("WORKER_WAIT_STEPS_S")
    worker.start()
    await worker.ready()
    orders = [f"WO-{number}" for number in range(EVENTS)]
    half = EVENTS // 2
    await publish_all(vhost.url, [event("created", order, name="x") for order in orders[:half]])
    await eventually(lambda: len(ditio.sandbox.state.tasks) > 100)
    # When
    for operation in operations:
        ditio.sandbox.faults.add({"operation": operation, "count": -1, **fault})
    await publish_all(vhost.url, [event("created", order, name="x") for order in orders[half:]])
    await eventually(lambda: worker.get("/readyz").startswith("503"), 120, what="not ready")
    until = time.monotonic() + minutes * 60
    while time.monotonic() < until:
        assert worker.running
        assert worker.metric("dead_letters_total") <= letters
        await asyncio.sleep(5)  # so long it lasts
    ditio.sandbox.faults.clear()
    # Then
    busiest = 0.0
    deadline = time.monotonic() + 600
    while vhost.depth(*QUEUES) or worker.metric("held_bytes") or vhost.depth(*QUEUES):
        busiest = max(busiest, worker.metric("in_flight"))
        assert time.monotonic() < deadline, "not drained"
        await asyncio.sleep(0.5)
    assert busiest <= MOST_IN_FLIGHT
    await worker.ready()
    await asyncio.to_thread(worker.stop)
    dead = [str(letter.headers["external-id"]) for letter in vhost.messages("workorders.dead")]
    assert len(dead) <= letters
    assert sorted([*(str(task["externalId"]) for task in ditio.sandbox.state.tasks.values()), *dead]) == sorted(orders)
