"""Pauses by hand and for a mass change, what waits, the state in ten lines; on real processes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from tests.e2e.test_commands import run
from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Request, Server
from worker.sandbox.admin import administer

LATER = "2026-03-16T08:00:00Z"


def tasks(ditio: Server) -> list[dict[str, Any]]:
    """The tasks in Ditio."""
    return list(ditio.sandbox.state.tasks.values())


def inactive(ditio: Server) -> int:
    """How many of them are."""
    return sum(task["active"] is False for task in tasks(ditio))


def harmed(ditio: Server) -> int:
    """How many are inactive, or have no end any more."""
    return sum(task["active"] is False or task["finishedDate"] is None for task in tasks(ditio))


async def status(worker: WorkerProcess, **more: str) -> dict[str, Any]:
    """What `status` says, as JSON."""
    address = {"WORKER_HTTP_ADDRESS": worker.address().removeprefix("http://")} if worker.starts else {}
    code, out, err = await run(worker, "status", "--format", "json", stdin=b"", **address | more)
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    return told


async def test_a_pause_by_hand_stops_everything_within_two_seconds_also_after_a_restart_until_resume(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given a worker at work
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.05})
    worker.start(WORKER_MAX_IN_FLIGHT="4")
    await worker.ready()
    await publish_all(vhost.url, [event("created", f"WO-{number}", name="x") for number in range(150)])
    await eventually(lambda: len(tasks(ditio)) > 10)
    # When
    code, _, err = await run(worker, "pause", "--reason", "månedsslutt i Visma")
    noted = time.monotonic()
    assert (code, "paused" in err) == (0, True)
    # Then
    await eventually(lambda: worker.metric("paused", cause="manual") == 1, 5)
    assert time.monotonic() - noted < 2
    page = worker.get("/readyz")
    assert page.startswith("503")
    assert "paused: manual: paused by" in page
    assert "månedsslutt i Visma" in page
    assert "since 20" in page
    await eventually(lambda: worker.metric("in_flight") == 0 and worker.metric("held_bytes") == 0)
    done = len(tasks(ditio))
    assert 150 - done <= vhost.depth("workorders.events") <= 154 - done, "what was held is back in the queue"
    # And after a restart, though Ditio and the broker are there
    assert await asyncio.to_thread(worker.stop) == 0
    worker.start()
    await eventually(lambda: "paused: manual" in worker.get("/readyz"), what="still paused")
    assert worker.get("/readyz").count("\n") == 1, "nothing else is wrong"
    assert worker.metric("events_total") == 0
    assert (await status(worker))["paused"]["reason"] == "månedsslutt i Visma"
    assert len(tasks(ditio)) == done
    # When
    code, _, err = await run(worker, "resume")
    assert (code, "månedsslutt i Visma" in err) == (0, True)
    # Then
    await eventually(lambda: worker.get("/readyz").startswith("200"), 4, what="goes on soon")
    await eventually(lambda: len(tasks(ditio)) == 150, 60)
    assert worker.metric("paused") == 0
    assert (await run(worker, "resume"))[0] == 3
    assert vhost.messages("workorders.dead") == []


async def test_a_worker_paused_while_ditio_is_down_takes_nothing_when_it_is_back(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    administer(ditio.sandbox, Request("POST", "/_sandbox/faults", body=b'{"operation": "*", "status": 503, "count": -1}'))
    await publish_all(vhost.url, [event("created", "WO-1", name="x")])
    await eventually(lambda: worker.metric("paused", cause="circuit") == 1)
    # When
    await run(worker, "pause", "--reason", "first look at what broke")
    ditio.sandbox.faults.clear()
    # Then
    await eventually(lambda: worker.metric("paused", cause="manual") == 1, 40)
    assert worker.metric("events_total") == 0
    assert tasks(ditio) == []
    # And it stops in order while it is paused
    assert await asyncio.to_thread(worker.stop, 5) == 0


async def test_a_mass_change_pauses_before_the_call_that_is_one_too_many_and_resume_lets_as_many_through_again(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given work orders, and a limit
    limit = {"WORKER_MAX_DEACTIVATIONS_PER_H": "4"}
    worker.start(**limit)
    await worker.ready()
    orders = [f"WO-{number}" for number in range(9)]
    await publish_all(vhost.url, [event("created", order, name="x", finishedDate="2026-05-01") for order in orders])
    await eventually(lambda: len(tasks(ditio)) == 9)
    # When a broken export switches off, deletes and clears
    broken = [
        *(event("updated", order, time=LATER, active=False) for order in orders[:3]),
        *(event("deleted", order, time=LATER) for order in orders[3:6]),
        *(event("updated", order, time=LATER, finishedDate=None) for order in orders[6:]),
    ]
    await publish_all(vhost.url, broken[:3])
    await eventually(lambda: inactive(ditio) == 3)
    # The count survives a restart
    await asyncio.to_thread(worker.stop)
    worker.start(**limit)
    await worker.ready()
    await publish_all(vhost.url, broken[3:])
    # Then
    await eventually(lambda: worker.metric("paused", cause="mass-change") == 1)
    page = worker.get("/readyz")
    assert "mass-change: paused by the worker" in page
    assert "more than 4 deactivations" in page
    await eventually(lambda: harmed(ditio) == 4)
    # And after a restart it is still so
    worker.kill()
    worker.start(**limit)
    await eventually(lambda: worker.metric("paused", cause="mass-change") == 1)
    assert harmed(ditio) == 4
    # When somebody has looked
    code, _, err = await run(worker, "resume")
    assert (code, "more than 4" in err) == (0, True)
    # Then four more may follow
    await eventually(lambda: harmed(ditio) == 8)
    await eventually(lambda: worker.metric("paused", cause="mass-change") == 1)
    assert harmed(ditio) == 8
    await run(worker, "resume")
    await eventually(lambda: inactive(ditio) == 6 and sum(task["finishedDate"] is None for task in tasks(ditio)) == 3)
    assert vhost.messages("workorders.dead") == []


async def test_without_a_limit_nothing_is_guarded(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    worker.start(WORKER_MAX_DEACTIVATIONS_PER_H="0")
    await worker.ready()
    orders = [f"WO-{number}" for number in range(20)]
    await publish_all(vhost.url, [event("created", order, name="x") for order in orders])
    # What is deleted before it was made is never made.
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 20)
    await publish_all(vhost.url, [event("deleted", order, time=LATER) for order in orders])
    await eventually(lambda: inactive(ditio) == 20)


async def test_what_waits_is_told_by_cause_and_the_gauges_know_it_after_a_restart(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given nothing
    steps = {"WORKER_WAIT_STEPS_S": "1,2,3600"}
    worker._settings.update(steps)
    worker.start()
    await worker.ready()
    assert (await run(worker, "waiting", "list"))[:2] == (3, "")
    # When two wait for a parent and one for a project
    await publish_all(
        vhost.url,
        [
            event("created", "WO-1", name="x", parent="WO-9"),
            event("created", "WO-2", name="x", parent="WO-9"),
            event("created", "WO-3", name="x", project="P-NONE"),
        ],
    )
    await eventually(lambda: vhost.depth("workorders.wait.1h") == 3, what="all take the long step")
    worker.kill()
    # Then, without a worker
    code, out, err = await run(worker, "waiting", "list", "--format", "json")
    groups = {group["kind"]: group for group in json.loads(out)}
    assert (code, err) == (0, "")
    assert {kind: (each["project"], each["events"], each["work_orders"]) for kind, each in groups.items()} == {
        "parent": ("P-2026-001", 2, 2),
        "project": ("P-NONE", 1, 1),
    }
    assert "WO-9" in groups["parent"]["detail"]
    code, out, _ = await run(worker, "waiting", "list", "--each", "--external-id", "WO-3", "--format", "jsonl")
    one = json.loads(out)
    assert (one["kind"], one["state"], one["reason"], one["field"], one["waited_s"]) == (
        "project", "missing", "unresolved-project", "data.project", 3,
    )  # fmt: skip
    assert (await run(worker, "waiting", "list", "--kind", "person"))[:2] == (3, "")
    code, out, err = await run(worker, "waiting", "list", AMQP_URL="amqp://user:hush-hush@127.0.0.1:1/")
    assert (code, len(out.splitlines()), "the broker could not be asked" in err) == (0, 3, True)
    # And after a restart
    worker.start()
    await worker.ready()
    await eventually(lambda: worker.metric("waiting_events", kind="parent") == 2)
    assert worker.metric("waiting_events", kind="project") == 1
    assert worker.metric("work_orders_unsettled", state="stale") == 2
    assert worker.metric("work_orders_unsettled", state="missing") == 1
    assert vhost.depth("workorders.wait.1h") == 3, "looking has touched nothing"


async def test_an_event_that_no_longer_waits_is_no_longer_told(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("created", "WO-1", name="x", parent="WO-9")])
    await eventually(lambda: worker.metric("waiting_events", kind="parent") == 1)
    # When
    await publish_all(vhost.url, [event("created", "WO-9", name="forelder", isParent=True)])
    # Then
    await eventually(lambda: worker.metric("waiting_events") == 0 and worker.metric("work_orders_unsettled") == 0)
    assert (await run(worker, "waiting", "list"))[0] == 3


async def test_status_tells_the_state_in_ten_lines_of_a_worker_that_runs_was_stopped_or_fell(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("created", "WO-1", name="x"), event("created", "WO-2", project="P-NONE", name="x")])
    await eventually(lambda: worker.metric("events_total", outcome="applied") == 1)
    await eventually(lambda: worker.metric("events_total", outcome="waiting") >= 1)
    await publish_all(vhost.url, [event("created", "WO-3", name="x", price="much")])
    await eventually(lambda: worker.metric("events_total", outcome="dead") == 1)
    # Then
    told = await status(worker)
    assert told["worker"]["state"] == "running"
    assert (told["last_event"]["external_id"], told["last_event"]["outcome"]) == ("WO-1", "applied")
    assert told["queues"]["workorders.dead"] == told["dead_letters"] == 1
    assert (told["paused"], told["circuit"], told["doubts"]) == (None, "closed", 0)
    assert told["events_per_minute"]["1 min"] == 1
    assert told["waiting"] == {"project": 1}
    assert told["ledger"]["work_orders"] == 1
    assert told["unseen"] == {}
    code, out, _ = await run(worker, "status")
    assert (code, len(out.splitlines())) == (0, 10)
    assert out.startswith("worker        process "), "the address of the settings is not the one that it took"
    # When Ditio is down
    administer(ditio.sandbox, Request("POST", "/_sandbox/faults", body=b'{"operation": "*", "status": 503, "count": -1}'))
    await publish_all(vhost.url, [event("created", "WO-4", name="x")])
    await eventually(lambda: worker.metric("paused", cause="circuit") == 1)
    told = await status(worker)
    assert (told["worker"]["state"], told["paused"]["cause"], told["circuit"]) == ("not ready", "circuit", "open")
    # When it is stopped, and the broker cannot be reached
    await asyncio.to_thread(worker.stop)
    told = await status(worker, AMQP_URL="amqp://user:hush-hush@127.0.0.1:1/")
    assert told["worker"]["state"] == "stopped"
    assert (told["queues"], told["dead_letters"]) == (None, None)
    assert "127.0.0.1:1" in told["unseen"]["broker"]
    # When it falls, and falls again
    for _ in range(3):
        worker.start()
        await eventually(lambda: worker.get("/livez").startswith("200"))
        await eventually(lambda: worker.log().count("connected to RabbitMQ") == worker.starts)
        worker.kill()
    assert (await status(worker))["worker"]["state"] == "crash-looping"
    # And when there is nothing at all
    code, out, _ = await run(
        worker, "status", AMQP_URL="amqp://user:hush-hush@127.0.0.1:1/", LEDGER_URL=f"sqlite://{worker.folder}/none.db"
    )
    assert (code, len(out.splitlines())) == (1, 10)


async def test_the_commands_say_so_when_there_is_no_ledger(worker: WorkerProcess) -> None:
    for words in (("pause", "--reason", "x"), ("resume",), ("waiting", "list")):
        code, _, err = await run(worker, *words)
        assert (code, "there is no ledger" in err) == (2, True)
    assert (await run(worker, "pause", "--reason", " "))[0] == 2
