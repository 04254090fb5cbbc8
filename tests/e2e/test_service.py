"""The worker as a process: what it refuses, how it stops, what survives, what it shows."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all, publisher
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.sandbox import Server
from worker.topology import Topology

QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s", "workorders.dead")


def another(worker: WorkerProcess) -> WorkerProcess:
    """A second worker with the same settings, and a log of its own."""
    folder = worker.folder / "second"
    folder.mkdir()
    return WorkerProcess(worker._settings, folder)


async def test_a_second_worker_on_the_same_ledger_is_refused_with_status_2(worker: WorkerProcess) -> None:
    worker.start()
    await worker.ready()
    second = another(worker)
    second.start()
    assert await asyncio.to_thread(second.wait) == 2
    assert "is used by another worker" in second.log()


async def test_a_second_worker_with_a_ledger_of_its_own_waits_for_the_first_to_end(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    second = another(worker)
    try:
        second.start(LEDGER_URL=f"sqlite://{second.folder}/other.db")
        await eventually(lambda: "waiting for another worker" in second.get("/readyz"), what="the second waits")
        # When
        await asyncio.to_thread(worker.stop)
        # Then
        await second.ready()
    finally:
        second.kill()


async def test_a_ledger_of_another_company_is_refused_with_status_2_and_a_sentence(worker: WorkerProcess) -> None:
    worker.start()
    await worker.ready()
    assert await asyncio.to_thread(worker.stop) == 0
    worker.start(DITIO_COMPANY_ID="5e0000000000000000000002")
    assert await asyncio.to_thread(worker.wait) == 2
    assert "name another place in LEDGER_URL" in worker.log()


async def test_a_queue_in_another_form_ends_the_worker_with_a_sentence(worker: WorkerProcess, vhost: Vhost) -> None:
    vhost.ask("PUT", f"queues/{vhost.name}/workorders.dead", {"durable": True})
    worker.start()
    assert await asyncio.to_thread(worker.wait) == 1
    assert "queue workorders.dead at the broker is not as the worker needs it" in worker.log()


async def test_a_worker_that_starts_before_its_broker_has_the_queues_it_may_not_declare_says_what_to_do(
    worker: WorkerProcess,
) -> None:
    worker.start(WORKER_DECLARE="false")
    assert await asyncio.to_thread(worker.wait) == 1
    assert "ditio-worker topology prints the definitions" in worker.log()


async def test_sigterm_in_the_middle_of_things_loses_nothing(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given a slow Ditio and many events
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.05})
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("created", f"WO-{number}", name="x") for number in range(300)])
    for _ in range(3):
        # When it is stopped at work, in order
        count = len(ditio.sandbox.state.tasks)
        await eventually(lambda count=count: len(ditio.sandbox.state.tasks) > count + 10)  # type: ignore[misc]  # a default has no type
        assert await asyncio.to_thread(worker.stop) == 0
        assert "Traceback" not in worker.log()
        worker.start()
    # Then
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 300, 60, what="all are applied")
    await eventually(lambda: vhost.depth(*QUEUES) == 0, 60)
    assert len({task["externalId"] for task in ditio.sandbox.state.tasks.values()}) == 300


async def test_cut_connections_lose_nothing_and_late_acknowledgements_are_counted(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.02})
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("created", f"WO-{number}", name="x") for number in range(400)])
    # When the connections are cut as soon as the management knows of them
    await eventually(lambda: len(ditio.sandbox.state.tasks) > 20)
    await eventually(lambda: vhost.close_connections() > 0, what="connections are cut")
    # Then
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 400, 60, what="all are applied")
    await worker.ready()
    assert worker.metric("broker_reconnects_total") >= 1
    await eventually(lambda: vhost.depth(*QUEUES) == 0, 60)
    assert len({task["externalId"] for task in ditio.sandbox.state.tasks.values()}) == 400


async def test_a_deleted_queue_is_declared_again_and_consumed(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    worker.start()
    await worker.ready()
    # When
    vhost.ask("DELETE", f"queues/{vhost.name}/workorders.events")
    await eventually(lambda: "workorders.events" in vhost.queues(), 60, what="the queue is there again")
    await worker.ready()
    # Then
    await publish_all(vhost.url, [event("created", "WO-1", name="x")])
    await eventually(lambda: ditio.sandbox.state.tasks, what="applied")


async def test_a_clock_that_is_not_ditios_pauses_the_worker(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    ditio.sandbox.options = ditio.sandbox.options.changed({"clock_ahead_s": 3600})
    worker.start()
    # Then
    await eventually(lambda: "clock" in worker.get("/readyz"), what="not ready for its clock")
    await publish_all(vhost.url, [event("created", "WO-1", name="x")])
    # And when it is right again
    ditio.sandbox.options = ditio.sandbox.options.changed({"clock_ahead_s": 0})
    await eventually(lambda: ditio.sandbox.state.tasks, 60, what="applied")
    assert vhost.depth("workorders.dead") == 0


async def test_each_settled_event_is_one_line_with_ids_and_without_names_or_bodies(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # When
    worker.start()
    await worker.ready()
    await publish_all(
        vhost.url,
        [event("created", "WO-1", name="Hemmelig navn"), event("updated", "WO-2", id="bad", estimatedHourQty="Hemmelig tall")],
    )
    await eventually(lambda: len(worker.lines()) == 2, what="two lines")
    # Then
    lines = {line["external_id"]: line for line in worker.lines()}
    (task_id,) = ditio.sandbox.state.tasks
    first = {name: lines["WO-1"][name] for name in ("event_id", "event_type", "source", "project", "outcome", "task_id", "calls")}
    assert first == {
        "event_id": "created-WO-1-2026-03-15T08:00:00Z",
        "event_type": "workorder.created.v1",
        "source": "/erp/test",
        "project": "P-2026-001",
        "outcome": "applied",
        "task_id": task_id,
        "calls": ["task_create"],
    }
    assert (lines["WO-2"]["outcome"], lines["WO-2"]["reason"], lines["WO-2"]["field"]) == (
        "dead", "invalid-event", "data.estimatedHourQty",
    )  # fmt: skip
    assert "Hemmelig" not in worker.log()


async def test_the_metrics_tell_what_happened(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("created", "WO-1", name="x")])
    await eventually(lambda: worker.metric("events_total", outcome="applied") == 1)
    assert worker.metric("events_total", type="workorder.created.v1", source="all", outcome="applied") == 1
    assert worker.metric("api_requests_total", operation="task_create", status="201") == 1
    assert worker.metric("event_duration_seconds_count") == 1
    assert worker.metric("event_delay_seconds_count") == 1
    assert worker.metric("lookups_total", kind="project", result="miss") == 1
    assert worker.metric("last_event_timestamp_seconds") > 1_700_000_000
    assert worker.metric("ledger_commit_seconds_count") >= 3
    await eventually(lambda: worker.metric("consumer_active") == 1 and worker.metric("broker_connected") == 1)
    await eventually(lambda: worker.metric("ledger_work_orders") == 1)
    assert worker.get("/livez").startswith("200")


async def test_the_gauge_of_dead_letters_rises_and_falls_with_the_queue(worker: WorkerProcess, vhost: Vhost) -> None:
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [Message(b"{"), Message(b"[")])
    await eventually(lambda: worker.metric("dead_letters", reason="invalid-event") == 2, what="two letters")
    assert len(vhost.take("workorders.dead")) == 2
    await eventually(lambda: worker.metric("dead_letters", reason="invalid-event") == 0, what="none is left")
    assert worker.metric("dead_letters_total", reason="invalid-event") == 2


@pytest.mark.parametrize("person_id", ["identityId", "companyProfileId"])
async def test_every_way_to_name_a_project_and_every_reference_reaches_the_task(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, person_id: str
) -> None:
    # Given
    ditio.sandbox.options = ditio.sandbox.options.changed({"person_id": person_id})
    (worker.folder / "tables.toml").write_text(
        '[unit]\nm3 = "64f0a1b2c3d4e5f6a7b8c9d0"\n[status]\nC = {active = false, finishedDate = "event-time"}\n'
    )
    worker.start(DITIO_PERSON_ID=person_id, WORKER_TABLES_FILE=str(worker.folder / "tables.toml"))
    await worker.ready()
    project = next(each for each in ditio.sandbox.state.projects.values() if each["projectNumber"] == "P-2026-001")
    names = [{"number": "P-2026-001"}, {"externalNumber": "4711"}, {"id": project["id"]}]
    # When
    messages = [event("created", "WO-P", name="forelder")]
    for place, name in enumerate(names):
        fields = {"parent": "WO-P", "mainForeman": "1042", "taskLeader": "1077", "unit": "m3", "status": "C"}
        message = event("created", f"WO-{place}", **fields)
        body = json.loads(message.body)
        body["data"]["project"] = name
        messages.append(Message(json.dumps(body).encode(), {}, message.properties))
    await publish_all(vhost.url, messages)
    await eventually(lambda: worker.metric("events_total", outcome="applied") >= 4, what="all are applied")
    # Then
    tasks = {task["externalId"]: task for task in ditio.sandbox.state.tasks.values()}
    users = ditio.sandbox.state.users
    await eventually(lambda: all(tasks[f"WO-{place}"]["parentActivityId"] == tasks["WO-P"]["id"] for place in range(3)))
    for place in range(3):
        task = ditio.sandbox.state.tasks[tasks[f"WO-{place}"]["id"]]
        assert (task["mainForemanId"], task["taskLeaderId"]) == (users["1042"][person_id], users["1077"][person_id])
        assert (task["unitId"], task["active"], task["finishedDate"]) == (
            "64f0a1b2c3d4e5f6a7b8c9d0",
            False,
            "2026-03-15T08:00:00Z",
        )
    assert tasks["WO-1"]["externalProjectNumber"] == "4711"


async def test_a_body_of_120_mib_is_a_letter_and_memory_stays_bounded(worker: WorkerProcess, vhost: Vhost) -> None:
    # Given the most that RabbitMQ 3.10 takes is 128 MiB
    worker.start()
    await worker.ready()
    before = worker.memory()
    # When
    async with publisher(vhost.url, Topology(wait_steps=(1, 2))) as to:
        await to.publish_to("workorders", "a", Message(b"[" + b"1" * (120 * 1_048_576)))
    # Then
    await eventually(lambda: worker.metric("dead_letters_total", reason="invalid-event") == 1, 60, what="it is dead")
    await eventually(lambda: vhost.depth("workorders.dead") == 1)
    assert worker.memory() - before < 600 * 1_048_576
    assert worker.running
