"""What takes minutes of a real worker's time: the five minutes that nothing is held longer than, and a consumer cut off unseen."""

from __future__ import annotations

import asyncio
import time

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Server


async def test_an_event_whose_processing_takes_longer_than_five_minutes_is_let_go_and_ends_once(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given an API that answers after ten minutes, and a worker that would wait for it
    worker.start(DITIO_TIMEOUT_S="900")
    await worker.ready()
    await publish_all(vhost.url, [event("created", "WO-0", name="x")])
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 1)
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 600})
    await publish_all(vhost.url, [event("updated", "WO-0", time="2026-03-16T08:00:00Z", name="y")])
    await eventually(lambda: vhost.depth("workorders.events") == 0)
    taken = time.monotonic()
    # When
    await eventually(lambda: "the oldest for too long" in worker.log(), 300, what="it is let go")
    # Then
    assert time.monotonic() - taken < 300
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0})
    await eventually(lambda: worker.metric("late_acks_total") >= 0 and worker.get("/readyz").startswith("200"), 60)
    assert vhost.depth("workorders.dead") == 0
    assert [task["name"] for task in ditio.sandbox.state.tasks.values()] == ["y"]


async def test_a_queue_that_somebody_made_anew_is_consumed_within_a_minute(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    place = f"queues/{vhost.name}/workorders.events"
    arguments = vhost.ask("GET", place)["arguments"]
    # When
    vhost.ask("DELETE", place)
    vhost.ask("PUT", place, {"durable": True, "arguments": arguments})
    vhost.ask("POST", f"bindings/{vhost.name}/e/workorders/q/workorders.events", {"routing_key": "#"})
    await publish_all(vhost.url, [event("created", "WO-0", name="x")])
    # Then
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 1, 60)
    await worker.ready()
    await asyncio.to_thread(worker.stop)
