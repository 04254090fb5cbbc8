"""A ledger that begins with what another one knows, and keeps to itself what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from worker.ledger import Reader
from worker.ledger.memory import Contents, MemoryLedger
from worker.ports import Clock, Happened, Key, WorkOrder


class Beside(MemoryLedger):
    """Each work order is taken over when it is first asked for. The other ledger (None: nothing is known) is only read."""

    def __init__(self, known: Reader | None, clock: Clock) -> None:
        super().__init__(Contents(), api_base="", company_id="", clock=clock)
        self._known = known
        self._taken_over: set[Key] = set()
        self._named: set[Key] = set()

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        """When the event was first received, here or there."""
        seen = await self._known.seen(source, event_id) if self._known else None
        return await super().first_seen(source, event_id, at if seen is None else min(at, seen))

    async def load(self, key: Key) -> WorkOrder:
        """What is known of a work order by now."""
        await self._take_over(key)
        order = await super().load(key)
        return msgspec.structs.replace(order, named=order.named or key in self._named)

    async def commit(self, order: WorkOrder, happened: Sequence[Happened] = (), *, paid: bool = False) -> None:
        """Merges with what is known by now."""
        await self._take_over(order.key)
        await super().commit(order, happened, paid=paid)

    async def _take_over(self, key: Key) -> None:
        if self._known is None or key in self._taken_over:
            return
        self._taken_over.add(key)
        order = await self._known.load(key)
        if order.named:
            self._named.add(key)
        await super().commit(order)
