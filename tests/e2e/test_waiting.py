"""What is not there yet: the event waits, the rest of it is applied, and in the end a person is told."""

from __future__ import annotations

import asyncio

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Request, Server
from worker.sandbox.admin import administer


def put_in(ditio: Server, what: str, body: bytes) -> None:
    """Somebody makes something in Ditio."""
    assert administer(ditio.sandbox, Request("POST", f"/_sandbox/{what}", body=body)).status == 201


def task(ditio: Server, external_id: str) -> dict[str, object]:
    """The task with this externalId; empty when there is none."""
    return next((each for each in ditio.sandbox.state.tasks.values() if each["externalId"] == external_id), {})


async def test_a_missing_project_a_parent_and_a_person_are_waited_for_and_then_applied(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    await publish_all(
        vhost.url,
        [
            event("created", "WO-1", project="P-NEW", name="i nytt prosjekt"),
            event("created", "WO-2", name="barn", parent="WO-3"),
            event("created", "WO-4", name="med leder", taskLeader="2001", mainForeman="1042"),
        ],
    )
    # When all have waited once, what could be applied is there
    await eventually(lambda: worker.metric("events_total", outcome="waiting") >= 3, what="all three wait")
    await eventually(lambda: task(ditio, "WO-2") and task(ditio, "WO-4"))
    assert task(ditio, "WO-2")["parentActivityId"] is None
    assert task(ditio, "WO-4")["mainForemanId"] == ditio.sandbox.state.users["1042"]["identityId"]
    assert task(ditio, "WO-4")["taskLeaderId"] is None
    assert task(ditio, "WO-1") == {}
    # And then what was missing appears
    put_in(ditio, "projects", b'{"projectNumber": "P-NEW"}')
    put_in(ditio, "users", b'{"employeeNumber": "2001"}')
    await publish_all(vhost.url, [event("created", "WO-3", name="forelder", isParent=True)])
    # Then
    await eventually(lambda: task(ditio, "WO-1"), what="the project's work order")
    await eventually(lambda: task(ditio, "WO-2")["parentActivityId"] == task(ditio, "WO-3").get("id"), what="the parent")
    await eventually(lambda: task(ditio, "WO-4")["taskLeaderId"] == ditio.sandbox.state.users["2001"]["identityId"])
    worker.stop()
    assert vhost.depth(*(f"workorders.{name}" for name in ("events", "wait.1s", "wait.2s", "dead"))) == 0


async def test_an_event_that_has_waited_long_enough_is_a_letter_that_says_what_was_missing(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start(WORKER_WAIT_MAX_S="3")
    await worker.ready()
    # When
    await publish_all(
        vhost.url,
        [
            event("created", "WO-1", project="P-NONE", name="x"),
            event("created", "WO-2", name="y", parent="WO-NONE"),
            event("created", "WO-3", name="z", mainForeman="9999"),
        ],
    )
    await eventually(lambda: worker.metric("events_total", outcome="dead") >= 3, 40, what="all are dead")
    # Then
    letters = {str(letter.headers["external-id"]): letter.headers for letter in vhost.messages("workorders.dead")}
    assert {name: letter["failure-reason"] for name, letter in letters.items()} == {
        "WO-1": "unresolved-project",
        "WO-2": "unresolved-parent",
        "WO-3": "unresolved-person",
    }
    assert {letter["waited-s"] for letter in letters.values()} == {3}
    assert "P-NONE" in str(letters["WO-1"]["failure-detail"])
    assert "WO-NONE" in str(letters["WO-2"]["failure-detail"])
    assert "9999" in str(letters["WO-3"]["failure-detail"])
    assert task(ditio, "WO-2")["name"] == "y", "what needed no parent was applied"


async def test_readyz_says_in_words_why_not_and_events_stay_with_the_broker_while_ditio_is_down(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    administer(ditio.sandbox, Request("POST", "/_sandbox/faults", body=b'{"operation": "*", "status": 503, "count": -1}'))
    # When
    await publish_all(vhost.url, [event("created", f"WO-{number}", name="x") for number in range(20)])
    # Then
    await eventually(lambda: worker.get("/readyz").startswith("503") and "circuit" in worker.get("/readyz"), what="not ready")
    assert worker.metric("paused", cause="circuit") == 1
    assert worker.metric("dead_letters_total") == 0
    # And when Ditio is back
    ditio.sandbox.faults.clear()
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 20, 60, what="all are applied")
    await worker.ready()
    assert vhost.messages("workorders.dead") == []


async def test_a_refused_client_pauses_the_worker_until_its_secret_is_right(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    secret = worker.folder / "secret"
    secret.write_text("wrong")
    worker._settings.pop("DITIO_CLIENT_SECRET")
    worker.start(DITIO_CLIENT_SECRET_FILE=str(secret))
    await publish_all(vhost.url, [event("created", "WO-1", name="x")])
    await eventually(lambda: "invalid_client" in worker.get("/readyz"), what="not ready for its credentials")
    assert worker.metric("paused", cause="credentials") == 1
    # When
    secret.write_text(f"{ditio.sandbox.options.client_secret}\n")
    # Then
    await eventually(lambda: task(ditio, "WO-1"), 60, what="applied after all")


async def test_a_lost_ledger_loses_no_event_and_doubles_no_task(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given half of the events applied, the worker gone, and its ledger with it
    orders = [f"WO-{number}" for number in range(40)]
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("created", order, name="først") for order in orders])
    await eventually(lambda: len(ditio.sandbox.state.tasks) >= 20)
    worker.kill()
    for file in worker.folder.glob("ledger.db*"):
        file.unlink()
    # When it starts anew, and more comes, doubled
    worker.start()
    updates = [event("updated", order, time="2026-03-16T08:00:00Z", name="så") for order in orders]
    await publish_all(vhost.url, [*updates, *updates])
    await eventually(lambda: vhost.depth("workorders.events") == 0 and _all_named(ditio, "så", len(orders)), 60)
    await asyncio.to_thread(worker.stop)
    # Then
    found = sorted(str(each["externalId"]) for each in ditio.sandbox.state.tasks.values())
    assert found == sorted(orders)
    assert vhost.messages("workorders.dead") == []


def _all_named(ditio: Server, name: str, count: int) -> bool:
    tasks = ditio.sandbox.state.tasks.values()
    return len(tasks) == count and all(each["name"] == name for each in tasks)
