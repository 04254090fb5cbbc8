"""The main job: events published to RabbitMQ end as the right tasks in Ditio."""

from __future__ import annotations

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Server


def tasks(ditio: Server) -> dict[str, dict[str, object]]:
    """The tasks by externalId."""
    return {task["externalId"]: task for task in ditio.sandbox.state.tasks.values()}


async def test_a_created_work_order_becomes_a_task_and_an_update_changes_only_what_it_names(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    # When
    await publish_all(vhost.url, [event("created", "WO-1", name="Graving", estimatedHourQty=100)])
    await eventually(lambda: tasks(ditio), what="the task is there")
    await publish_all(vhost.url, [event("updated", "WO-1", time="2026-03-15T09:00:00Z", estimatedHourQty=750)])
    await eventually(lambda: tasks(ditio)["WO-1"]["estimatedHourQty"] == 750, what="the task is updated")
    # Then
    assert tasks(ditio)["WO-1"]["name"] == "Graving"
    assert tasks(ditio)["WO-1"]["active"] is True
    await eventually(lambda: vhost.depth("workorders.events") == 0)
    assert worker.stop() == 0
