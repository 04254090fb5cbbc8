"""The gauges of what waits, and forgetting what can wait no more."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from tests.ledger.conftest import StoppedClock
from tests.ledger.test_guards import aside
from worker import chores
from worker.core.errors import BrokerError
from worker.ledger.memory import Contents, MemoryLedger
from worker.metrics import Metrics


@dataclass
class Around:
    """A flow, and the depth of the event queue (None: the broker does not tell)."""

    flowing: bool = True
    ready: int | None = 0

    async def depth(self, _: str) -> int:
        if self.ready is None:
            raise BrokerError("gone")
        return self.ready


class Round(StoppedClock):
    """A clock on which a chore is done once."""

    async def sleep(self, seconds: float) -> None:
        raise asyncio.CancelledError


async def once(around: Around, store: MemoryLedger, clock: Round) -> str:
    """What the metrics show after one round."""
    metrics, doubles = Metrics("0"), cast("Any", around)
    try:
        await chores.waiting(metrics, doubles, store, doubles, "events", clock)
    except asyncio.CancelledError:
        return metrics.render().decode()
    raise AssertionError("it ended by itself")


async def test_the_gauges_show_what_the_index_knows_and_what_can_wait_no_more_is_forgotten() -> None:
    # Given one that came back twenty minutes ago, and one that comes back later
    clock = Round(2_000_000.0)
    store = MemoryLedger(Contents(), api_base="a", company_id="c", clock=clock)
    await store.put_aside(aside("e-1", back_at=int((clock.at - 1200) * 1e6)))
    await store.put_aside(aside("e-2", kind="project", state="missing", back_at=int((clock.at + 60) * 1e6)))
    # When nobody can say that it is in no queue
    for around in (Around(flowing=False), Around(ready=7), Around(ready=None)):
        shown = await once(around, store, clock)
        # Then
        assert 'waiting_events{kind="parent"} 1.0' in shown
        assert 'waiting_events{kind="project"} 1.0' in shown
    assert 'work_orders_unsettled{state="stale"} 1.0' in shown
    # And when the queue is empty
    shown = await once(Around(), store, clock)
    assert 'waiting_events{kind="parent"} 0.0' in shown
    assert 'waiting_events{kind="project"} 1.0' in shown
    assert [each.id for each in await store.waiting()] == ["e-2"]
