"""Work orders under work orders, against the local Ditio: in any order, of any depth, moved, made again, refused."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.ledger.conftest import StoppedClock
from tests.support.reconciling import client, reconciler
from worker.api import Client
from worker.core.doubt import Window
from worker.core.event import Event, EventType, ProjectRef, Reference
from worker.core.field import Value
from worker.core.outcome import Applied, Dead, Outcome, Unchanged, Waiting
from worker.core.plan import Policy
from worker.core.stamp import Instant
from worker.ports import Key
from worker.reconcile import Reconciler
from worker.round import Job
from worker.sandbox import Options, Server, serve
from worker.sandbox.seed import seed


class Rig:
    """Everything that reconciles the work orders of one project, on a clock that stands."""

    def __init__(self, server: Server, api: Client, clock: StoppedClock, policy: Policy) -> None:
        self.server, self.clock = server, clock
        self.state = server.sandbox.state
        self.project_id = next(each for each in self.state.projects.values() if each["projectNumber"] == "P-2026-001")["id"]
        self.reconciler, self.lookups, self.ledger = reconciler(api, server, policy, window=Window(10, 30), clock=clock)
        self.seconds = itertools.count(1)
        self.waiting: list[Job] = []

    def key(self, external_id: str) -> Key:
        return Key(self.project_id, external_id)

    def event(self, external_id: str, kind: EventType = EventType.UPDATED, *, parent: str = "", **values: Value) -> Job:
        """The next event of the ERP; `parent` is an externalId."""
        second = next(self.seconds)
        references = {"parentActivityId": Reference("parent", parent, "data.parent")} if parent else {}
        event = Event(
            kind, "/erp", f"e-{second}", Instant(1_700_000_000 + second), None, ProjectRef("number", "P-2026-001"), external_id,
            values, references,
        )  # fmt: skip
        return Job(event, event.stamp(second))

    async def take(self, job: Job) -> Outcome:
        """One event; what waits is kept for `later`."""
        project = await self.lookups.project(ProjectRef("number", "P-2026-001"))
        (end,) = await self.reconciler.reconcile(project, self.key(job.event.external_id), [job])
        if isinstance(end.outcome, Waiting):
            self.waiting.append(job)
        return end.outcome

    async def say(self, external_id: str, kind: EventType = EventType.UPDATED, *, parent: str = "", **values: Value) -> Outcome:
        """The ERP says something of a work order."""
        return await self.take(self.event(external_id, kind, parent=parent, **values))

    async def later(self, seconds: float = 41) -> None:
        """Time passes: what waits comes back, and what is due is done."""
        self.clock.at += seconds
        again, self.waiting = self.waiting, []
        for job in again:
            await self.take(job)
        for _ in range(20):
            if not (keys := await self.ledger.due(self.clock.at, 100)):
                return
            for key in keys:
                project = await self.lookups.project(ProjectRef("id", key.project_id))
                await self.reconciler.reconcile(project, key, ())
        raise AssertionError(f"due for ever: {keys}")

    def task(self, external_id: str) -> dict[str, Any]:
        """The one task of a work order; empty when there is none."""
        found = self.state.with_key(self.project_id, external_id)
        assert len(found) <= 1, "twins"
        return found[0] if found else {}

    def above(self, external_id: str) -> str | None:
        """The externalId of the task that a task lies under."""
        parent = self.state.tasks.get(self.task(external_id)["parentActivityId"] or "")
        return parent["externalId"] if parent else None

    def writes(self) -> int:
        """How many writes there were."""
        names = ("task_create", "task_update", "task_replace", "task_delete")
        return sum(count for (name, _), count in self.server.sandbox.counts.items() if name in names)


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture
async def rig(policy: Policy) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        clock = StoppedClock()
        server = await serve(Options(), clock=clock.now)
        stack.push_async_callback(server.close)
        seed(server.sandbox)
        server.sandbox.state.templates.clear()
        server.sandbox.state.tasks.clear()
        api = await stack.enter_async_context(client(server, timeout_s=0.3))
        yield Rig(server, api, clock, policy)


@pytest.mark.parametrize("shuffle", range(6))
async def test_children_before_parents_in_any_order_end_six_levels_deep_and_marked(rig: Rig, shuffle: int) -> None:
    # Given a tree of six levels with two branches
    above = {f"L{level}{side}": f"L{level - 1}{side}" if level > 1 else "L0" for level in range(1, 6) for side in "ab"}
    jobs = [rig.event(name, EventType.CREATED, parent=parent, name=name) for name, parent in above.items()]
    jobs.append(rig.event("L0", EventType.CREATED, name="L0"))
    random.Random(shuffle).shuffle(jobs)
    # When
    for job in jobs:
        assert isinstance(await rig.take(job), Applied | Waiting)
    for _ in range(7):
        await rig.later()
    # Then
    assert rig.waiting == []
    assert {name: rig.above(name) for name in above} == above
    leaves = {"L5a", "L5b"}
    assert {task["externalId"] for task in rig.state.tasks.values() if not task["isParent"]} == leaves
    # And it stays so without another write
    before = rig.writes()
    await rig.later()
    assert rig.writes() == before


async def test_a_parent_is_marked_while_a_child_names_it_over_what_the_erp_says(rig: Rig) -> None:
    # Given
    await rig.say("WO-1", name="forelder", isParent=False)
    await rig.say("WO-2", parent="WO-1")
    await rig.later(2)
    assert rig.task("WO-1")["isParent"] is True
    # When the ERP says otherwise, also by replacing it
    assert await rig.say("WO-1", isParent=False) == Unchanged()
    await rig.say("WO-1", EventType.REPLACED, active=True, isParent=False, name="ny")
    assert (rig.task("WO-1")["isParent"], rig.task("WO-1")["name"]) == (True, "ny")
    # And when the child is detached, the ERP's value counts again
    await rig.say("WO-2", parentActivityId=None)
    await rig.later(2)
    assert rig.above("WO-2") is None
    assert rig.task("WO-1")["isParent"] is False
    # And what is left of it costs nothing
    before = rig.writes()
    assert await rig.say("WO-1", name="ny") == Unchanged()
    await rig.later(2)
    assert rig.writes() == before


async def test_a_replaced_event_that_leaves_is_parent_out_does_not_unmark_a_parent(rig: Rig) -> None:
    await rig.say("WO-1", isParent=True)
    await rig.say("WO-2", parent="WO-1")
    await rig.later(2)
    await rig.say("WO-1", EventType.REPLACED, active=True)
    assert rig.task("WO-1")["isParent"] is True
    await rig.say("WO-2", EventType.REPLACED, active=True)
    await rig.later(2)
    assert (rig.above("WO-2"), rig.task("WO-1")["isParent"]) == (None, False)


async def test_a_child_that_moves_marks_the_new_parent_and_unmarks_the_old_one(rig: Rig) -> None:
    for name in ("WO-1", "WO-2"):
        await rig.say(name, name=name)
    await rig.say("WO-3", parent="WO-1")
    await rig.later(2)
    assert (rig.task("WO-1")["isParent"], rig.task("WO-2")["isParent"]) == (True, False)
    assert await rig.say("WO-3", parent="WO-2") == Applied()
    await rig.later(2)
    assert rig.above("WO-3") == "WO-2"
    assert (rig.task("WO-1")["isParent"], rig.task("WO-2")["isParent"]) == (False, True)


async def test_a_parent_that_no_event_ever_named_is_found_and_marked(rig: Rig) -> None:
    # Given a task that somebody made in Ditio
    planned = {
        **_defaults(),
        "id": "a" * 24,
        "companyId": "c",
        "projectId": rig.project_id,
        "externalId": "WO-9",
        "name": "planlagt",
    }
    rig.state.put(planned)
    # When
    assert await rig.say("WO-2", parent="WO-9") == Applied()
    await rig.later(2)
    # Then
    assert rig.above("WO-2") == "WO-9"
    assert rig.task("WO-9") == {**planned, "isParent": True}


async def test_a_parent_named_by_its_id_is_marked_too(rig: Rig) -> None:
    await rig.say("WO-1", name="forelder")
    assert await rig.say("WO-2", parentActivityId=rig.task("WO-1")["id"]) == Applied()
    await rig.later(2)
    assert rig.task("WO-1")["isParent"] is True


async def test_a_parent_that_no_event_ever_named_is_marked_when_it_is_named_by_its_id(rig: Rig) -> None:
    rig.state.put({**_defaults(), "id": "a" * 24, "companyId": "c", "projectId": rig.project_id, "externalId": "WO-9"})
    assert await rig.say("WO-2", parentActivityId="a" * 24) == Applied()
    await rig.later(2)
    assert rig.above("WO-2") == "WO-9"
    assert rig.task("WO-9")["isParent"] is True


async def test_the_children_of_a_parent_that_was_made_again_follow_it(rig: Rig) -> None:
    # Given
    await rig.say("WO-1", name="forelder")
    for name in ("WO-2", "WO-3"):
        await rig.say(name, parent="WO-1", name=name)
    await rig.later(2)
    old = rig.task("WO-1")["id"]
    # When somebody deletes it in Ditio, and the ERP says something of it
    rig.state.remove(old)
    await rig.say("WO-1", name="igjen")
    for _ in range(3):
        await rig.later()
    # Then
    assert rig.task("WO-1")["id"] != old
    assert (rig.task("WO-1")["name"], rig.task("WO-1")["isParent"]) == ("igjen", True)
    assert {rig.above(name) for name in ("WO-2", "WO-3")} == {"WO-1"}
    # And a duplicate of a child's event changes nothing back
    before = rig.writes()
    await rig.later()
    assert rig.writes() == before


async def test_a_child_whose_parent_is_gone_waits_and_follows_the_new_one(rig: Rig) -> None:
    await rig.say("WO-1", name="forelder")
    rig.state.remove(rig.task("WO-1")["id"])
    # The ledger believes in it, Ditio does not
    ending = await rig.say("WO-2", parent="WO-1", name="barn")
    assert isinstance(ending, Waiting)
    assert (ending.kind, rig.task("WO-2")["name"]) == ("parent", "barn")
    await rig.say("WO-1", name="igjen")
    for _ in range(3):
        await rig.later()
    assert rig.above("WO-2") == "WO-1"
    assert rig.waiting == []


async def test_a_parent_in_another_project_is_a_letter_that_says_so_and_the_rest_is_applied(rig: Rig) -> None:
    other = next(each for each in rig.state.projects.values() if each["id"] != rig.project_id)
    rig.state.put({**_defaults(), "id": "b" * 24, "companyId": "c", "projectId": other["id"], "externalId": "WO-B"})
    ending = await rig.say("WO-2", parentActivityId="b" * 24, name="barn")
    assert isinstance(ending, Dead)
    assert (ending.failure.reason, ending.failure.field) == ("unresolved-parent", "data.parentActivityId")
    assert 'the work order "WO-B"' in ending.failure.detail
    assert "another project" in ending.failure.detail
    assert (rig.task("WO-2")["name"], rig.task("WO-2")["parentActivityId"]) == ("barn", None)


async def test_a_parent_id_that_is_not_there_is_waited_for(rig: Rig) -> None:
    ending = await rig.say("WO-2", parentActivityId="c" * 24, name="barn")
    assert isinstance(ending, Waiting)
    assert ending.kind == "parent"
    rig.state.put({**_defaults(), "id": "c" * 24, "companyId": "c", "projectId": rig.project_id, "externalId": "WO-C"})
    await rig.later()
    assert rig.above("WO-2") == "WO-C"


async def test_a_cycle_ends_in_a_letter_and_neither_waits_nor_is_due_for_ever(rig: Rig) -> None:
    # When two name each other, and one itself
    first = await rig.say("WO-1", parent="WO-2", name="a")
    second = await rig.say("WO-2", parent="WO-1", name="b")
    itself = await rig.say("WO-3", parent="WO-3", name="c")
    assert isinstance(first, Waiting)
    assert second == Applied()
    assert isinstance(itself, Waiting)
    again = list(rig.waiting)
    rig.clock.at += 10
    endings = [await rig.take(job) for job in again]
    # Then
    assert [(type(ending), ending.failure.reason) for ending in endings if isinstance(ending, Dead)] == [(Dead, "rejected")] * 2
    rig.waiting.clear()
    await rig.later()
    assert {task["name"] for task in rig.state.tasks.values()} == {"a", "b", "c"}


async def test_a_deleted_child_does_not_keep_its_parent_marked_where_deleting_deletes(rig: Rig) -> None:
    rig.reconciler = Reconciler(
        rig.ledger, rig.reconciler._ditio, rig.lookups, rig.clock, policy=Policy(on_delete="delete"), window=Window(10, 30)
    )
    await rig.say("WO-1", name="forelder")
    await rig.say("WO-2", parent="WO-1")
    await rig.later(2)
    assert await rig.say("WO-2", EventType.DELETED) == Applied()
    await rig.later(2)
    assert rig.task("WO-2") == {}
    assert rig.task("WO-1")["isParent"] is False


async def test_a_parent_stays_marked_while_a_child_that_is_gone_lies_under_it_after_all(rig: Rig) -> None:
    # Given a child whose move under its parent was given up, and that is then deleted
    await rig.say("WO-1", name="forelder")
    await rig.say("WO-2", parentActivityId=None, name="barn")
    rig.server.sandbox.faults.add({"operation": "task_update", "late_s": 20, "count": 3})
    await rig.say("WO-2", parent="WO-1")
    await rig.say("WO-2", EventType.DELETED)
    # When the move arrives late
    rig.clock.at += 41
    rig.server.sandbox.settle_late()
    await rig.later()
    assert rig.above("WO-2") == "WO-1"
    assert rig.task("WO-1")["isParent"] is True
    # Then the event that wanted it changes nothing when it comes back, and the parent is shown as one
    await rig.later()
    assert (rig.above("WO-2"), rig.task("WO-1")["isParent"], rig.task("WO-2")["active"]) == ("WO-1", True, False)


async def test_due_work_that_fails_for_a_while_is_tried_again_and_what_ditio_refuses_is_not(rig: Rig) -> None:
    # Given
    await rig.say("WO-1", name="forelder")
    await rig.say("WO-2", parent="WO-1")
    rig.server.sandbox.faults.add({"operation": "task_update", "status": 500, "count": 3})
    # When
    await rig.later(2)
    assert rig.task("WO-1")["isParent"] is False
    await rig.later(5)
    assert rig.task("WO-1")["isParent"] is False, "not before its time"
    await rig.later()
    # Then
    assert rig.task("WO-1")["isParent"] is True
    # And when it is refused
    await rig.say("WO-2", parentActivityId=None)
    rig.server.sandbox.faults.add({"operation": "task_update", "status": 422, "count": 1})
    await rig.later(2)
    assert rig.task("WO-1")["isParent"] is True
    assert await rig.ledger.next_due() is None


class TestWithoutMarking:
    """WORKER_MARK_PARENTS=false."""

    @pytest.fixture
    def policy(self) -> Policy:
        return Policy(mark_parents=False)

    async def test_is_parent_is_what_the_erp_says(self, rig: Rig) -> None:
        await rig.say("WO-1", name="forelder")
        await rig.say("WO-2", parent="WO-1")
        before = rig.server.sandbox.counts.copy()
        await rig.later(2)
        assert rig.task("WO-1")["isParent"] is False
        assert rig.server.sandbox.counts == before, "nothing was even looked up"


def _defaults() -> dict[str, Any]:
    from worker.sandbox.fields import defaults

    return defaults()
