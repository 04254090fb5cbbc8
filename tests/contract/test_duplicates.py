"""One work order is one task, whatever becomes of the request that creates it and whatever Ditio says to a second one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.support.site import Setting, Site, site
from tests.support.waiting import eventually
from worker.ports import Key
from worker.sandbox.fields import defaults

LATE_S, LAG_S = 12.0, 25.0
"""When a request that was given up takes effect, and how long look-ups hide what it made: together less than it is waited for."""

TROUBLES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "answer lost": [{"drop": "after"}],
    "answers lost": [{"drop": "after", "count": 3}],
    "request lost": [{"drop": "before"}],
    "requests lost, then an answer": [{"drop": "before", "count": 2}, {"drop": "after"}],
    "request late": [{"late_s": LATE_S, "delay_s": 0.001}],
    "request late, then an answer lost": [{"late_s": LATE_S, "delay_s": 0.001}, {"drop": "after"}],
    "server error": [{"status": 502}],
    "throttled, then an answer lost": [{"status": 429, "headers": {"Retry-After": "1"}}, {"drop": "after"}],
    "token refused, then an answer lost": [{"status": 401}, {"drop": "after"}],
}
"""What goes wrong with the requests that create, in turn."""

each_rule = pytest.mark.parametrize("duplicate", ["400", "409", "allow"])
each_trouble = pytest.mark.parametrize("trouble", TROUBLES)
with_and_without_ids = pytest.mark.parametrize("client_ids", [False, True], ids=["ids of Ditio", "derived ids"])
with_and_without_lag = pytest.mark.parametrize("lag_s", [0.0, LAG_S], ids=["seen at once", "seen late"])


@asynccontextmanager
async def troubled(trouble: str, *, client_ids: bool, **options: object) -> AsyncIterator[Site]:
    """A site where creations fare like this."""
    async with site(Setting(client_ids=client_ids), **options) as here:
        for fault in TROUBLES[trouble]:
            here.fault(operation="task_create", **fault)
        yield here


async def one_task(here: Site, **values: object) -> None:
    """When all is over there is one task, exactly as its events say, and nothing is owed."""
    await here.settle()
    task = here.task()
    assert len(here.sandbox.state.tasks) == 1
    home = {"companyId": here.company_id, "projectId": here.project_id(), "externalId": "WO-1", "id": task.get("id")}
    assert task == {**defaults(), "active": True, **home, **values}
    assert (await here.ledger.load(Key(here.project_id(), "WO-1"))).doubt_until == 0


@each_rule
@each_trouble
@with_and_without_ids
@with_and_without_lag
async def test_events_of_a_new_work_order_make_one_task(duplicate: str, trouble: str, client_ids: bool, lag_s: float) -> None:
    async with troubled(trouble, client_ids=client_ids, duplicate=duplicate, lag_s=lag_s) as here:
        assert (await here.send("created", name="a", price=1)).reason == ""
        assert (await here.send("updated", name="b")).reason == ""
        await one_task(here, name="b", price=1.0)
        if client_ids:
            assert here.task()["id"] == here.derived(Key(here.project_id(), "WO-1"))


@each_rule
@each_trouble
@with_and_without_ids
async def test_the_same_and_other_events_before_all_is_settled_make_one_task(
    duplicate: str, trouble: str, client_ids: bool
) -> None:
    async with troubled(trouble, client_ids=client_ids, duplicate=duplicate, lag_s=LAG_S, create_answer="nothing") as here:
        # Given three events, and each of them twice
        messages = [here.event("created", name="a"), here.event("updated", price=2), here.event("updated", name="c")] * 2
        # When they are taken before any of them has come to its end, as often as they come back
        for _ in range(4):
            for message in messages:
                await here.bring(message, times=1)
        # Then
        await one_task(here, name="c", price=2.0)


@each_rule
@pytest.mark.parametrize("lag_s", [0.0, LAG_S])
@pytest.mark.parametrize("late_s", [0.0, LATE_S])
async def test_a_worker_that_is_killed_while_it_creates_leaves_no_second_task_to_the_next(
    duplicate: str, lag_s: float, late_s: float
) -> None:
    async with site(duplicate=duplicate, lag_s=lag_s) as here:
        # Given a worker that is killed between its request and the answer
        here.fault(operation="task_create", **({"late_s": late_s, "delay_s": 60} if late_s else {"delay_s": 60}))
        message = here.event("created", name="a")
        killed = asyncio.create_task(here.bring(message))
        await eventually(lambda: here.requests("task_create"))
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
        # When another one gets the event, and one that is newer
        here.restart()
        assert (await here.bring(msgspec.structs.replace(message, redelivered=True))).reason == ""
        await here.send("updated", name="b")
        # Then
        await one_task(here, name="b")
        assert here.requests("task_create") == 1


@pytest.mark.parametrize("duplicate", ["400", "409"])
@with_and_without_ids
@pytest.mark.parametrize("hidden_s", [0.0, LAG_S])
async def test_a_task_that_somebody_else_made_is_adopted_when_look_ups_show_it(
    duplicate: str, client_ids: bool, hidden_s: float
) -> None:
    async with site(Setting(client_ids=client_ids), duplicate=duplicate) as here:
        # Given
        there = here.put("tasks", externalId="WO-1", projectId=here.project_id(), name="fra Ditio", price=7.0, active=True)
        here.sandbox.state.seen_at[there["id"]] = here.clock.at + hidden_s
        # When
        assert (await here.send("created", name="a")).reason == ""
        # Then
        await one_task(here, name="a", price=7.0)
        assert here.task()["id"] == there["id"]
        assert here.requests("task_create") == (1 if hidden_s else 0), "a creation that was refused is not repeated"


@with_and_without_ids
@pytest.mark.parametrize("status", [400, 409])
async def test_a_creation_that_is_refused_for_another_reason_is_a_letter_after_the_doubt_and_was_sent_once(
    client_ids: bool, status: int
) -> None:
    async with site(Setting(client_ids=client_ids)) as here:
        here.fault(operation="task_create", status=status, body={"message": "Prosjektet krever underprosjekt"}, count=-1)
        before = here.clock.at
        end = await here.send("created", name="a")
        assert (end.outcomes[0], end.reason, end.letter["failure-status"]) == ("waiting", "rejected", status)
        assert "underprosjekt" in end.detail
        assert here.clock.at - before >= 40
        assert (here.requests("task_create"), here.sandbox.state.tasks) == (1, {})


async def test_twins_that_ditio_lets_somebody_make_later_are_touched_by_nobody_who_does_not_know_which_is_meant() -> None:
    async with site(duplicate="allow") as here:
        # Given a task of the worker's, and a twin that somebody makes
        await here.send("created", name="a")
        ours = here.task()
        twin = here.put("tasks", externalId="WO-1", projectId=here.project_id(), name="tvilling")
        # Then the worker goes on with its own
        assert (await here.send("updated", name="b")).outcomes == ["applied"]
        assert here.sandbox.state.tasks == {ours["id"]: ours | {"name": "b"}, twin["id"]: twin}
        # And one that knows nothing does not guess
        here.forget()
        end = await here.send("updated", name="c")
        assert end.reason == "ambiguous"
        assert here.sandbox.state.tasks == {ours["id"]: ours | {"name": "b"}, twin["id"]: twin}
