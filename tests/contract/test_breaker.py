"""Work orders reconciled behind the breaker, against the local Ditio: how the events of refused writes end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.contract.test_reconcile import job
from tests.support.reconciling import client, reconciler
from worker.breaker import Breaker
from worker.clock import WallClock
from worker.core.errors import Outage
from worker.core.event import ProjectRef
from worker.core.outcome import Applied, Dead, Outcome, Waiting
from worker.core.plan import Policy
from worker.ledger.memory import MemoryLedger
from worker.ports import Key
from worker.sandbox import Options, Server, serve
from worker.sandbox.seed import seed


class Rig:
    """Reconciles any work order of one project."""

    def __init__(self, server: Server, breaker: Breaker, troubles: list[Any]) -> None:
        api: Any = breaker
        self.server, self.breaker, self.troubles = server, breaker, troubles
        self.reconciler, self.lookups, self.ledger = reconciler(api, server, Policy())

    async def ends(self, order: str, *seconds: int) -> list[Outcome]:
        """How events of a work order end that come together."""
        project = await self.lookups.project(ProjectRef("number", "P-2026-001"))
        jobs = [job(second, name=f"x{second}") for second in seconds or (1,)]
        return [end.outcome for end in await self.reconciler.reconcile(project, Key(project.id, order), jobs)]

    def refuses(self, status: int) -> None:
        """Writes are refused from now on."""
        for operation in ("task_create", "task_update"):
            self.server.sandbox.faults.add({"operation": operation, "status": status, "count": -1})


@asynccontextmanager
async def opened() -> AsyncIterator[Rig]:
    """A rig, until the block ends."""
    server = await serve(Options())
    seed(server.sandbox)
    async with client(server) as api:
        troubles: list[Any] = []
        yield Rig(server, Breaker(api, WallClock(), on_change=lambda state: None, trouble=troubles.append), troubles)
    await server.close()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with opened() as given:
        yield given


@pytest.mark.parametrize("status", [403, 404])
async def test_the_first_refused_event_is_a_letter_and_the_others_wait_uncounted_until_the_circuit_opens(
    rig: Rig, status: int
) -> None:
    rig.refuses(status)
    (first,) = await rig.ends("WO-0")
    assert isinstance(first, Dead)
    for number in range(1, 10):
        (end,) = await rig.ends(f"WO-{number}")
        assert isinstance(end, Waiting)
        assert (end.kind, end.counted, end.failure.reason, end.failure.status) == ("failing", False, "rejected", status)
    assert [outage.cause for outage in rig.troubles] == ["credentials" if status == 403 else "circuit"]
    with pytest.raises(Outage):
        await rig.ends("WO-10")


async def test_what_fails_is_counted_alone_and_not_in_a_row(rig: Rig) -> None:
    rig.refuses(500)
    ends = [(await rig.ends(f"WO-{number}"))[0] for number in range(3)]
    assert [isinstance(end, Waiting) and end.counted for end in ends] == [True, False, False]


async def test_events_that_wait_together_are_not_tried_one_by_one_while_it_is_undecided(rig: Rig) -> None:
    # Given
    rig.refuses(403)
    await rig.ends("WO-0")
    rig.server.sandbox.log.clear()
    # When
    ends = await rig.ends("WO-1", 1, 2, 3)
    # Then
    assert all(isinstance(end, Waiting) and not end.counted for end in ends)
    assert [line["operation"] for line in rig.server.sandbox.log].count("task_create") == 1


async def test_a_spared_refusal_says_of_the_requests_fate_what_it_says_otherwise(rig: Rig) -> None:
    # Given
    rig.refuses(403)
    await rig.ends("WO-0")
    # When one is refused for good, and one may have arrived
    await rig.ends("WO-1")
    rig.server.sandbox.faults.clear()
    rig.server.sandbox.faults.add({"operation": "task_create", "drop": "after"})
    await rig.ends("WO-2")
    # Then
    assert await doubt(rig.ledger, rig, "WO-1") == 0
    assert await doubt(rig.ledger, rig, "WO-2") > 0


async def test_tasks_that_somebody_deleted_do_not_open_the_circuit(rig: Rig) -> None:
    # Given
    orders = [f"WO-{number}" for number in range(20)]
    for order in orders:
        assert await rig.ends(order) == [Applied()]
    for task_id in list(rig.server.sandbox.state.tasks):
        rig.server.sandbox.state.remove(task_id)
    # When
    ends = [(await rig.ends(order, 2))[0] for order in orders]
    # Then
    assert {isinstance(end, Waiting) and end.kind for end in ends} == {"settling"}
    assert rig.troubles == []


async def doubt(ledger: MemoryLedger, rig: Rig, order: str) -> float:
    """Until when a work order is in doubt."""
    project = await rig.lookups.project(ProjectRef("number", "P-2026-001"))
    return (await ledger.load(Key(project.id, order))).doubt_until
