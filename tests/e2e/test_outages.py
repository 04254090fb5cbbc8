"""Ditio, or what stands before it, is out of order: nothing is dead-lettered for it, and everything is applied when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Server

QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")
WRITES = ("task_create", "task_update", "task_replace", "task_delete")
QUICK = {"DITIO_TIMEOUT_S": "0.7", "DITIO_SETTLE_S": "0.5"}
"""Doubt is soon over."""

PAGE = "<html><body>Scheduled maintenance</body></html>"


class Gateway:
    """What stands before the sandbox, and answers in its place."""

    def __init__(self, server: Server) -> None:
        self._sandbox = server.sandbox

    def answers(self, *operations: str, **fault: Any) -> None:
        """Answers like this from now on."""
        for operation in operations:
            self._sandbox.faults.add({"operation": operation, "count": -1, **fault})

    def is_gone(self) -> None:
        """Lets everything through again."""
        self._sandbox.faults.clear()

    def requests(self, *operations: str) -> int:
        """How many of these have come."""
        return sum(count for (operation, _), count in self._sandbox.counts.items() if operation in operations)


@pytest.fixture
def gateway(ditio: Server) -> Gateway:
    """In front of the sandbox."""
    return Gateway(ditio)


async def flood(vhost: Vhost, number: int, *, first: int = 0, **fields: Any) -> list[str]:
    """Publishes an event for each of so many work orders; returns their numbers."""
    orders = [f"WO-{place}" for place in range(first, first + number)]
    await publish_all(vhost.url, [event("updated", order, **({"name": "x"} | fields)) for order in orders])
    return orders


def applied(ditio: Server) -> set[str]:
    """The work orders that Ditio has."""
    return {str(task["externalId"]) for task in ditio.sandbox.state.tasks.values()}


async def drained(worker: WorkerProcess, vhost: Vhost, within_s: float = 60) -> None:
    """Returns when all is done: nothing is in a queue, and nothing in the worker's hands."""

    def rests() -> bool:
        return vhost.depth(*QUEUES) == 0 and worker.metric("held_bytes") == 0 and vhost.depth(*QUEUES) == 0

    await worker.ready(within_s)
    await eventually(rests, within_s, what="drained")
    await asyncio.to_thread(worker.stop)
    assert vhost.depth(*QUEUES) == 0


@pytest.mark.parametrize("fault", [{"status": 404, "body": PAGE}, {"status": 200, "body": PAGE}])
async def test_while_nothing_gets_through_nothing_is_lost_and_nothing_dead_lettered(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, gateway: Gateway, fault: dict[str, Any]
) -> None:
    # Given work orders that are known, so that both creations and changes are under way
    worker.start(**QUICK)
    await worker.ready()
    known = await flood(vhost, 40)
    await eventually(lambda: len(applied(ditio)) == 40)
    # When everything is answered by the gateway in the middle of it
    await flood(vhost, 40, time="2026-03-16T08:00:00Z", name="y", workDescription="langs veien")
    gateway.answers("*", **fault)
    new = await flood(vhost, 300, first=40)
    await eventually(lambda: worker.get("/readyz").startswith("503"), what="not ready")
    await eventually(lambda: worker.metric("paused") >= 1 and worker.metric("held_bytes") == 0, what="all is given back")
    pause = next(cause for cause in ("circuit", "credentials") if worker.metric("paused", cause=cause))
    assert worker.metric("circuit_state") == (2 if pause == "circuit" else 0)
    asked = gateway.requests(*WRITES)
    await asyncio.sleep(1)  # so long it lasts
    assert gateway.requests(*WRITES) == asked, "nothing is written into an outage"
    # And the gateway is gone
    gateway.is_gone()
    # Then
    await drained(worker, vhost)
    assert vhost.messages("workorders.dead") == []
    assert applied(ditio) == {*known, *new}
    tasks = list(ditio.sandbox.state.tasks.values())
    assert len(tasks) == 340, "twins"
    assert {task["name"] for task in tasks if task["externalId"] in known} == {"y"}, "a page is no success"


@pytest.mark.parametrize(("status", "cause"), [(403, "credentials"), (404, "circuit"), (500, "circuit")])
async def test_while_writes_alone_are_refused_the_circuit_is_open_and_closes_by_itself(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, gateway: Gateway, status: int, cause: str
) -> None:
    # Given
    worker.start(**QUICK)
    await worker.ready()
    first = await flood(vhost, 100)
    await eventually(lambda: len(applied(ditio)) > 20)
    # When every write is refused, and every read answered
    gateway.answers(*WRITES, status=status)
    more = await flood(vhost, 150, first=100)
    await eventually(lambda: worker.metric("paused", cause=cause) == 1, what=f"paused for {cause}")
    assert cause in worker.get("/readyz")
    # Then one event at a time is let through, to see
    asked = gateway.requests(*WRITES)
    await eventually(lambda: gateway.requests(*WRITES) >= asked + 2, 40, what="half-open, more than once")
    assert worker.metric("circuit_state") >= 1
    tried = [line["external_id"] for line in worker.lines() if line["outcome"] == "waiting"][-2:]
    assert len(tried) == len(set(tried)), "another one each time"
    # And when writes are taken again
    gateway.is_gone()
    await drained(worker, vhost, 90)
    assert len(vhost.messages("workorders.dead")) <= 1, "but for the very first, nobody could know"
    letters = {str(letter.headers["external-id"]) for letter in vhost.messages("workorders.dead")}
    assert applied(ditio) | letters == {*first, *more}
    rounds = [message for message in vhost.messages("workorders.dead") if message.headers["failure-reason"] == "failing"]
    assert rounds == [], "those rounds are not counted"


async def test_one_event_on_which_ditio_fails_waits_and_ends_as_failing_while_others_flow(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, gateway: Gateway
) -> None:
    # Given
    worker.start(**QUICK, WORKER_WAIT_STEPS_S="1")
    await worker.ready()
    gateway.answers("task_create", external_id="WO-BAD", status=500)
    await publish_all(vhost.url, [event("created", "WO-BAD", name="x")])
    # When others come all the time
    number, paused = 0, 0.0
    while worker.metric("dead_letters_total", reason="failing") == 0:
        await flood(vhost, 5, first=number)
        number += 5
        await eventually(lambda number=number: len(applied(ditio)) == number, what="others flow")  # type: ignore[misc]  # a default has no type
        paused += worker.metric("paused")
        assert number < 1_000
    # Then
    (letter,) = vhost.messages("workorders.dead")
    assert (letter.headers["external-id"], letter.headers["failure-reason"]) == ("WO-BAD", "failing")
    assert worker.metric("api_requests_total", operation="task_create", status="500") == 8, "one creation in each round"
    assert paused == 0
    assert worker.metric("circuit_state") == 0


async def test_a_lone_refusal_is_its_events_own_fault_at_once(worker: WorkerProcess, vhost: Vhost, gateway: Gateway) -> None:
    worker.start(**QUICK)
    await worker.ready()
    await publish_all(vhost.url, [event("created", "WO-1", name="x")])
    gateway.answers("task_create", external_id="WO-BAD", status=403)
    await publish_all(vhost.url, [event("created", "WO-BAD", name="x")])
    await eventually(lambda: worker.metric("dead_letters_total", reason="rejected") == 1, what="a letter")
    assert worker.metric("paused") == 0


async def test_a_pause_of_over_a_minute_that_ditio_asks_for_gives_events_back(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, gateway: Gateway
) -> None:
    # Given
    worker.start(**QUICK)
    await worker.ready()
    # When
    gateway.answers("task_create", status=429, headers={"Retry-After": "120"})
    await flood(vhost, 30)
    # Then
    await eventually(lambda: worker.metric("paused", cause="circuit") == 1, what="paused")
    assert "429" in worker.get("/readyz")
    await eventually(lambda: vhost.depth("workorders.events") == 30, what="all are back with the broker")
    assert worker.metric("events_total") == 0, "nothing is counted"
    gateway.is_gone()
    assert await asyncio.to_thread(worker.stop, 10) == 0
