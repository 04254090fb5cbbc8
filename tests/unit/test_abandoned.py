"""A change that is abandoned while it waits for another attempt: what may still take effect of it is durable doubt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.ledger.conftest import StoppedClock
from worker.core.doubt import Window
from worker.core.errors import Abandoned
from worker.core.event import Event, EventType, ProjectRef
from worker.core.stamp import Instant
from worker.ledger.memory import Contents, MemoryLedger
from worker.ports import Key, Project, WorkOrder
from worker.reconcile import Reconciler
from worker.round import Job

KEY = Key("p-1", "WO-1")


@pytest.mark.parametrize(("lingering", "doubt_s"), [(True, 40), (False, 0)])
async def test_an_abandoned_change_raises_doubt_if_an_attempt_of_it_may_still_arrive(lingering: bool, doubt_s: int) -> None:
    # Given a task that is known, and a worker that stops while a change of it waits
    async def send(*_: object, **__: object) -> None:
        raise Abandoned(lingering=lingering)

    clock = StoppedClock()
    ledger = MemoryLedger(Contents(), api_base="a", company_id="c", clock=clock)
    await ledger.commit(WorkOrder(KEY, task_id="t-1"))
    nothing: Any = SimpleNamespace(send=send)
    reconciler = Reconciler(ledger, nothing, nothing, clock, window=Window(timeout_s=10, settle_s=30))
    project = ProjectRef("number", "P-1")
    event = Event(EventType.UPDATED, "/erp", "e-1", Instant(1_700_000_000), None, project, "WO-1", {"name": "x"}, {}, ())
    # When
    with pytest.raises(Abandoned):
        await reconciler.reconcile(Project("p-1", "P-1", None), KEY, [Job(event, event.stamp(1))])
    # Then
    order = await ledger.load(KEY)
    assert order.doubt_until == (clock.at + doubt_s if doubt_s else 0)
    assert "name" not in order.record.cells
