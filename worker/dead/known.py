"""What the ledger knows about the work orders of dead letters; it is only read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from worker.core.dead_letter import DeadLetter, original
from worker.core.errors import BadEvent
from worker.core.event import Event
from worker.core.message import Message
from worker.core.stamp import OrderBy
from worker.core.standing import Standing, superseded
from worker.dead.desk import Look, Seen
from worker.ports import Happened, Key, WorkOrder


class Known(Protocol):
    """The part of a ledger that is asked; see worker.ledger.Reader."""

    async def seen(self, source: str, event_id: str) -> int | None: ...
    async def with_external_id(self, external_id: str) -> Sequence[WorkOrder]: ...
    async def history(self, key: Key, limit: int = 1000) -> Sequence[Happened]: ...


class Knowledge:
    """Says how letters stand. `known` is None where there is no ledger: then nothing is known to be superseded."""

    def __init__(self, known: Known | None, decode: Callable[[Message], Event], order_by: OrderBy) -> None:
        self._known = known
        self._decode = decode
        self._order_by = order_by
        self._orders: dict[str, Sequence[WorkOrder]] = {}
        self._events: dict[Key, frozenset[tuple[str, str]]] = {}

    async def standing(self, each: Seen, look: Look) -> Standing:
        """How a letter stands. Raises LedgerError."""
        if await self._superseded(each):
            return "superseded"
        return "together" if each.letter.work_order in look.siblings else "fix"

    async def work_order(self, letter: DeadLetter) -> WorkOrder | None:
        """The work order of a letter: the one in whose history its event is, for a letter names the project by a number, which is no id."""
        for order in await self._with(letter.identity.external_id):
            if (letter.identity.source, letter.identity.id) in await self._of(order.key):
                return order
        return None

    async def history(self, key: Key) -> Sequence[Happened]:
        """What happened to a work order, oldest first."""
        return await self._known.history(key) if self._known is not None else ()

    async def _superseded(self, each: Seen) -> bool:
        if self._known is None or each.message is None or not await self._with(each.letter.identity.external_id):
            return False
        try:
            event = self._decode(original(each.message))
        except BadEvent:
            return False
        order = await self._order_of(event, each.letter)
        if order is None:
            return False
        first_seen = await self._known.seen(event.source, event.id) or each.letter.first_seen or 0
        stamp = event.stamp(first_seen, repair=each.letter.repair, order_by=self._order_by)
        return superseded(event, stamp, order.record)

    async def _order_of(self, event: Event, letter: DeadLetter) -> WorkOrder | None:
        if event.project.kind != "id":
            return await self.work_order(letter)
        orders = await self._with(event.external_id)
        return next((order for order in orders if order.key.project_id == event.project.value), None)

    async def _with(self, external_id: str) -> Sequence[WorkOrder]:
        if self._known is None or not external_id:
            return ()
        if external_id not in self._orders:
            self._orders[external_id] = await self._known.with_external_id(external_id)
        return self._orders[external_id]

    async def _of(self, key: Key) -> frozenset[tuple[str, str]]:
        if self._known is not None and key not in self._events:
            self._events[key] = frozenset((line.source, line.id) for line in await self._known.history(key))
        return self._events.get(key, frozenset())
