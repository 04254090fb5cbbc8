"""SIGTERM at any moment: in time, and nothing is lost, doubled or dead-lettered."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.stopping import stopped_again_and_again
from tests.support.waiting import eventually
from worker.sandbox import Server


async def test_twenty_stops_at_random_moments_under_load(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    await stopped_again_and_again(worker, vhost, ditio, 20)


async def test_what_goes_back_at_a_stop_keeps_its_order(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given a Ditio that does not answer in time, and events that are held
    worker.start(WORKER_DRAIN_S="1", WORKER_MAX_IN_FLIGHT="4")
    await worker.ready()
    ditio.sandbox.faults.add({"operation": "task_create", "count": -1, "delay_s": 20})
    orders = [f"WO-{number}" for number in range(50)]
    await publish_all(vhost.url, [event("created", order, name="x") for order in orders])
    await eventually(lambda: worker.metric("held_bytes") > 0 and vhost.depth("workorders.events") == 0, what="all are held")
    # When
    assert await asyncio.to_thread(worker.stop, 10) == 0
    # Then
    assert [message.body for message in vhost.messages("workorders.events")] == [
        event("created", order, name="x").body for order in orders
    ]


async def test_no_attempt_starts_that_could_outlast_the_drain(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given a drain that is shorter than a request may take
    worker.start(WORKER_DRAIN_S="3", DITIO_TIMEOUT_S="5", WORKER_MAX_IN_FLIGHT="8")
    await worker.ready()
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.3})
    await publish_all(vhost.url, [event("created", f"WO-{number}", name="x") for number in range(60)])
    await eventually(lambda: len(ditio.sandbox.state.tasks) > 8)
    # When
    worker._process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]  # it runs
    await eventually(lambda: "finishing what was begun" in worker.log(), what="it has heard")
    asked = len(ditio.sandbox.log)
    assert await asyncio.to_thread(worker.wait) == 0
    # Then what was under way was answered, and nothing more was asked
    assert len(ditio.sandbox.log) - asked <= 1


async def test_a_second_signal_stops_at_once(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    worker.start(WORKER_DRAIN_S="60")
    await worker.ready()
    ditio.sandbox.faults.add({"operation": "task_create", "count": -1, "delay_s": 30})
    await publish_all(vhost.url, [event("created", "WO-1", name="x")])
    await eventually(lambda: worker.metric("held_bytes") > 0)
    worker._process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]  # it runs
    await eventually(lambda: "stopping" in worker.get("/readyz"), what="not ready")
    # When
    began = time.monotonic()
    worker._process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]  # it runs
    # Then
    assert await asyncio.to_thread(worker.wait) == 130
    assert time.monotonic() - began < 2


async def test_a_worker_that_is_told_to_stop_while_it_starts_or_pauses_ends(worker: WorkerProcess, ditio: Server) -> None:
    # Given a Ditio that answers nothing
    ditio.sandbox.faults.add({"operation": "*", "count": -1, "delay_s": 30})
    for sign in ("metrics and health at", "consumption pauses"):
        worker.start(DITIO_TIMEOUT_S="1", WORKER_DRAIN_S="5")
        told = worker.log().count(sign)
        await eventually(lambda sign=sign, told=told: worker.log().count(sign) > told, what=sign)  # type: ignore[misc]  # a default has no type
        began = time.monotonic()
        assert await asyncio.to_thread(worker.stop, 10) == 0
        assert time.monotonic() - began < 3
