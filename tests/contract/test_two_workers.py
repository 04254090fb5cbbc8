"""Two workers on one ledger: what one has cached does not mislead it about what the other did meanwhile. Time stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.ledger.conftest import StoppedClock
from tests.support.reconciling import client, reconciler
from worker.core.doubt import Window
from worker.core.event import Event, EventType, ProjectRef, Reference
from worker.core.outcome import Applied, Outcome, Waiting
from worker.core.plan import Policy
from worker.core.stamp import Instant
from worker.ledger.memory import Contents
from worker.ports import Key
from worker.round import Job
from worker.sandbox import Options, Server, serve
from worker.sandbox.seed import seed

PROJECT = ProjectRef("number", "P-2026-001")


class Pair:
    """Workers `a` and `b`: caches of their own, a ledger and a Ditio in common. Each event is newer than the one before."""

    def __init__(self, server: Server, clock: StoppedClock) -> None:
        self.server, self.clock, self._events = server, clock, 0
        self.contents = Contents()
        self.a: Any = None
        self.b: Any = None

    async def said(self, worker: Any, kind: EventType, external_id: str, *, under: str = "", **said: Any) -> Outcome:
        """How an event ends at one of them. `under` is the externalId of its parent."""
        self._events += 1
        parts, lookups, _ = worker
        project = await lookups.project(PROJECT)
        ref = ProjectRef("id", project.id)
        references = {"parentActivityId": Reference("parent", under, "data.parent")} if under else {}
        time = Instant(1_700_000_000 + self._events)
        event = Event(kind, "/erp", f"e-{self._events}", time, None, ref, external_id, said, references)
        (concluded,) = await parts.reconcile(project, Key(project.id, external_id), [Job(event, event.stamp(self._events))])
        outcome: Outcome = concluded.outcome
        return outcome

    def tasks(self, external_id: str) -> list[dict[str, Any]]:
        """What Ditio has of a work order."""
        return [task for task in self.server.sandbox.state.tasks.values() if task["externalId"] == external_id]

    def parent(self) -> str:
        """The parent of WO-2, by its id."""
        (task,) = self.tasks("WO-2")
        return str(task["parentActivityId"])


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        clock = StoppedClock()
        server = await serve(Options(), clock=clock.now)
        stack.push_async_callback(server.close)
        seed(server.sandbox)
        server.sandbox.state.templates.clear()
        pair = Pair(server, clock)
        policy = Policy(on_delete="delete")
        for name in ("a", "b"):
            api = await stack.enter_async_context(client(server, clock=clock))
            setattr(pair, name, reconciler(api, server, policy, pair.contents, window=Window(10, 30), clock=clock))
        yield pair


async def test_what_another_worker_created_is_no_longer_missing(pair: Pair) -> None:
    # Given a worker that has looked for WO-1 in vain
    assert isinstance(await pair.said(pair.b, EventType.UPDATED, "WO-2", under="WO-1"), Waiting)
    # When
    await pair.said(pair.a, EventType.CREATED, "WO-1", name="made by the other")
    # Then it is found, and changed without a twin
    assert isinstance(await pair.said(pair.b, EventType.UPDATED, "WO-2", under="WO-1"), Applied)
    assert isinstance(await pair.said(pair.b, EventType.UPDATED, "WO-1", price=5.0), Applied)
    (task,) = pair.tasks("WO-1")
    assert (task["name"], task["price"], pair.parent()) == ("made by the other", 5.0, task["id"])


async def test_what_another_worker_deleted_and_created_again_is_found_under_its_new_id(pair: Pair) -> None:
    # Given a worker that knows the id of WO-1
    await pair.said(pair.b, EventType.CREATED, "WO-1", name="old")
    (old,) = pair.tasks("WO-1")
    # When
    await pair.said(pair.a, EventType.DELETED, "WO-1")
    assert pair.tasks("WO-1") == []
    await pair.said(pair.a, EventType.CREATED, "WO-1", active=True, name="new")
    (new,) = pair.tasks("WO-1")
    assert new["id"] != old["id"]
    # Then
    await pair.said(pair.b, EventType.UPDATED, "WO-3", under="WO-1")
    await pair.said(pair.b, EventType.UPDATED, "WO-1", price=7.0)
    assert [task["parentActivityId"] for task in pair.tasks("WO-3")] == [new["id"]]
    assert [(task["id"], task["price"]) for task in pair.tasks("WO-1")] == [(new["id"], 7.0)]


async def test_a_parent_that_another_worker_deleted_is_waited_for_whatever_is_cached(pair: Pair) -> None:
    # Given a worker that has made WO-1
    await pair.said(pair.b, EventType.CREATED, "WO-1", name="x")
    # When
    await pair.said(pair.a, EventType.DELETED, "WO-1")
    # Then
    assert isinstance(await pair.said(pair.b, EventType.UPDATED, "WO-3", under="WO-1", name="y"), Waiting)
    assert [(task["name"], task["parentActivityId"]) for task in pair.tasks("WO-3")] == [("y", None)]
    # And a newer event brings it back, once, and is then found
    await pair.said(pair.b, EventType.UPDATED, "WO-1", price=3.0)
    (back,) = pair.tasks("WO-1")
    await pair.said(pair.a, EventType.UPDATED, "WO-3", under="WO-1")
    assert [task["parentActivityId"] for task in pair.tasks("WO-3")] == [back["id"]]
