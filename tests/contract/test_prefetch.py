"""Many unknown work orders of a project are found by one listing: what a cold start and a nightly catalogue cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.ledger.conftest import StoppedClock
from tests.support.reconciling import client, reconciler
from worker.api import Client
from worker.core.event import Event, EventType, ProjectRef
from worker.core.field import Value
from worker.core.outcome import Applied, Superseded, Unchanged, Waiting, name
from worker.core.plan import Policy
from worker.core.stamp import Instant
from worker.listings import GOOD_S, MANY
from worker.ports import Key
from worker.reconcile import Reconciler
from worker.round import Job
from worker.sandbox import Options, Server, serve
from worker.sandbox.fields import defaults

PROJECTS = 5
TASKS = 1_000
IN_FLIGHT = 64


class Rig:
    """A worker's parts with an empty ledger, before a Ditio of five projects."""

    def __init__(self, server: Server, api: Client, clock: StoppedClock, policy: Policy = Policy()) -> None:
        self.server, self.clock = server, clock
        self.state = server.sandbox.state
        for number in range(PROJECTS):
            project_id = f"{number:024x}"
            self.state.projects[project_id] = {
                "id": project_id,
                "companyId": server.sandbox.options.company_id,
                "projectNumber": f"P-{number}",
            }
        self.reconciler, self.lookups, self.ledger = reconciler(api, server, policy, clock=clock)

    def exist(self, external_ids: Sequence[str], **values: Value) -> None:
        """Tasks that are in Ditio already."""
        for number, external_id in enumerate(external_ids):
            identity = {"companyId": "c", "projectId": f"{number % PROJECTS:024x}", "externalId": external_id}
            self.state.put({**defaults(), **values, **identity, "id": f"{number + 1_000_000:024x}"})

    async def publish(
        self, external_ids: Sequence[str], second: int = 1, kind: EventType = EventType.UPDATED, **values: Value
    ) -> list[str]:
        """One event for each; the names of their outcomes."""
        limit = asyncio.Semaphore(IN_FLIGHT)

        async def one(number: int, external_id: str) -> str:
            ref = ProjectRef("number", f"P-{number % PROJECTS}")
            moment = Instant(1_700_000_000 + second)
            event = Event(kind, "/erp", f"{external_id}-{second}", moment, None, ref, external_id, values)
            async with limit:
                project = await self.lookups.project(ref)
                key = Key(project.id, external_id)
                (end,) = await self.reconciler.reconcile(project, key, [Job(event, event.stamp(second))])
            return name(end.outcome)

        return list(await asyncio.gather(*(one(*pair) for pair in enumerate(external_ids))))

    def calls(self) -> int:
        """Requests since the last time, without the token's."""
        counts = self.server.sandbox.counts
        total = sum(count for (operation, _), count in counts.items() if operation != "token")
        counts.clear()
        return total


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        clock = StoppedClock()
        server = await serve(Options(), clock=clock.now)
        stack.push_async_callback(server.close)
        api = await stack.enter_async_context(client(server, timeout_s=30.0))
        yield Rig(server, api, clock)


ORDERS = [f"WO-{number}" for number in range(TASKS)]


async def test_a_cold_start_over_existing_tasks_costs_one_call_for_each_event_and_the_same_again_none(rig: Rig) -> None:
    # Given
    rig.exist(ORDERS, name="før", price=5.0)
    # When
    assert set(await rig.publish(ORDERS, name="etter", price=5.0)) == {"applied"}
    # Then: a PATCH for each, a few look-ups and one listing for each project, and the projects
    calls = rig.calls()
    print(f"{calls / TASKS:.3f} calls for each event of a cold start")
    assert calls <= TASKS + PROJECTS * (MANY + 3)
    assert {task["name"] for task in rig.state.tasks.values()} == {"etter"}
    # And only what differs was sent
    bodies = [line["body"] for line in rig.server.sandbox.log if line["operation"] == "task_update"]
    assert bodies == [{"name": "etter"}] * TASKS
    # When the same catalogue is published again
    assert set(await rig.publish(ORDERS, second=2, name="etter", price=5.0)) == {"unchanged"}
    assert rig.calls() == 0


async def test_a_cold_start_over_tasks_that_hold_everything_already_costs_next_to_nothing(rig: Rig) -> None:
    rig.exist(ORDERS, name="samme")
    assert set(await rig.publish(ORDERS, name="samme")) == {"unchanged"}
    assert rig.calls() <= PROJECTS * (MANY + 3)


async def test_the_first_creations_of_a_listed_project_cost_one_post_each(rig: Rig) -> None:
    assert set(await rig.publish(ORDERS, name="ny")) == {"applied"}
    assert rig.server.sandbox.counts["task_create", "201"] == TASKS
    # A look-up without a match is believed only beside a control read
    assert rig.calls() <= TASKS + PROJECTS * (MANY * 2 + 4)
    assert len(rig.state.tasks) == TASKS


async def test_a_few_unknown_work_orders_are_looked_up_one_by_one(rig: Rig) -> None:
    rig.exist(ORDERS[: PROJECTS * MANY], name="før")
    await rig.publish(ORDERS[: PROJECTS * MANY], name="etter")
    assert rig.server.sandbox.counts["task_list", "200"] == 0
    assert rig.server.sandbox.counts["task_find", "200"] == PROJECTS * MANY


async def test_a_listing_is_believed_for_a_minute_only(rig: Rig) -> None:
    # Given projects that were listed
    await rig.publish(ORDERS[:100], name="ny")
    # When somebody makes tasks in Ditio afterwards
    rig.clock.at += GOOD_S + 1
    later = [f"LATER-{number}" for number in range(10)]
    rig.exist(later, name="annens")
    await rig.publish(later, name="vår")
    # Then they are found
    assert [task["name"] for task in rig.state.tasks.values() if task["externalId"] in later] == ["vår"] * 10
    assert len(rig.state.tasks) == 110


async def test_who_is_in_doubt_asks_afresh(rig: Rig) -> None:
    # Given a listing from before a creation that was given up and arrives late
    rig.exist(ORDERS[:50], name="før")
    await rig.publish(ORDERS[:50], name="etter")
    rig.server.sandbox.faults.add({"operation": "task_create", "late_s": 20, "delay_s": 0.01})
    assert await rig.publish(["WO-NEW"], second=2, name="a") == [name(Waiting("failing", None))]  # type: ignore[arg-type]  # only its name counts
    rig.clock.at += 41
    # When it is tried again within the listing's minute
    outcome = await rig.publish(["WO-NEW"], second=2, name="a")
    # Then
    assert outcome in ([name(Applied())], [name(Unchanged())])
    assert [task["name"] for task in rig.state.tasks.values() if task["externalId"] == "WO-NEW"] == ["a"]


async def test_a_task_that_the_worker_deleted_is_not_taken_from_an_older_listing(rig: Rig) -> None:
    # Given a listed project, of which the worker deletes one
    rig.exist(ORDERS[:50], name="før")
    await rig.publish(ORDERS[:50], name="etter")
    gone = Event(EventType.DELETED, "/erp", "gone", Instant(1_700_000_005), None, ProjectRef("number", "P-0"), "WO-0")
    project = await rig.lookups.project(gone.project)
    rig.reconciler = Reconciler(rig.ledger, rig.lookups._ditio, rig.lookups, rig.clock, policy=Policy(on_delete="delete"))
    (end,) = await rig.reconciler.reconcile(project, Key(project.id, "WO-0"), [Job(gone, gone.stamp(5))])
    assert end.outcome == Applied()
    rig.calls()
    # When it comes again
    assert await rig.publish(["WO-0"], second=9, name="igjen") == ["applied"]
    # Then it is made at once
    assert rig.server.sandbox.counts["task_create", "201"] == 1
    assert rig.calls() == 1


async def test_a_known_task_is_not_compared_with_a_listing_from_before_its_last_change(rig: Rig) -> None:
    # Given a listed project, and a task that the worker changed since
    rig.exist(ORDERS[:50], name="før")
    await rig.publish(ORDERS[:50], name="etter")
    await rig.publish(["WO-0"], second=2, price=5.0)
    project = await rig.lookups.project(ProjectRef("number", "P-0"))
    replaced: dict[str, Value] = {"active": True, "name": "ny"}
    for second, kind, values in ((3, EventType.DELETED, {}), (4, EventType.REPLACED, replaced)):
        event = Event(
            kind, "/erp", f"e-{second}", Instant(1_700_000_000 + second), None, ProjectRef("number", "P-0"), "WO-0", values
        )
        await rig.reconciler.reconcile(project, Key(project.id, "WO-0"), [Job(event, event.stamp(second))])
    # Then what was reset is seen to be there still, and cleared
    (task,) = rig.state.with_key(project.id, "WO-0")
    assert (task["name"], task["price"], task["active"]) == ("ny", 0.0, True)


async def test_a_project_that_cannot_be_listed_is_looked_up_one_by_one(rig: Rig) -> None:
    rig.exist(ORDERS[:100], name="før")
    rig.server.sandbox.faults.add({"operation": "task_list", "status": 400, "count": -1})
    assert set(await rig.publish(ORDERS[:100], name="etter")) == {"applied"}
    assert rig.server.sandbox.counts["task_list", "400"] == PROJECTS, "and it is not tried again for a while"


async def test_twins_are_seen_in_a_listing_too(rig: Rig) -> None:
    rig.exist(ORDERS[:100])
    twin: dict[str, Any] = {**rig.state.with_key(f"{0:024x}", "WO-95")[0], "id": "f" * 24}
    rig.state.put(twin)
    outcomes = await rig.publish(ORDERS[:100], name="etter")
    assert outcomes.count("dead") == 1
    assert outcomes.index("dead") == 95


async def test_an_older_event_of_a_known_work_order_asks_nobody(rig: Rig) -> None:
    rig.exist(ORDERS[:50])
    await rig.publish(ORDERS[:50], second=5, name="ny")
    rig.calls()
    assert set(await rig.publish(ORDERS[:50], second=4, name="gammel")) == {name(Superseded())}
    assert rig.calls() == 0


async def test_a_listing_older_than_a_change_of_our_own_does_not_hide_what_must_be_reset(rig: Rig) -> None:
    # Given work orders that were listed, then named, and then deleted
    rig.exist(ORDERS[:100])
    await rig.publish(ORDERS[:100], price=5.0)
    assert rig.server.sandbox.counts["task_list", "200"] == PROJECTS
    await rig.publish(ORDERS[:100], second=2, name="ny")
    await rig.publish(ORDERS[:100], second=3, kind=EventType.DELETED)
    # When they are there again, without a name
    assert set(await rig.publish(ORDERS[:100], second=4, price=6.0)) == {"applied"}
    # Then
    assert {task["name"] for task in rig.state.tasks.values()} == {None}
