"""A ledger in memory: for rehearsals that must leave no trace, and for simulations. What it holds ends with the process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from worker.core.errors import LedgerError
from worker.core.record import merge
from worker.ledger import retention
from worker.ledger.store import Binding, Pause, binding_of, bound
from worker.ports import Clock, Happened, Key, WorkOrder


@dataclass
class Contents:
    """What outlives the closing of a ledger: handed to the next one, it is there again."""

    orders: dict[Key, WorkOrder] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    kept: dict[Key, dict[tuple[str, str], str]] = field(default_factory=dict)
    history: list[tuple[Key, Happened]] = field(default_factory=list)
    binding: Binding | None = None
    pause: Pause | None = None


class MemoryLedger:
    """The ledger's rules and nothing else: every method is done before it first yields."""

    def __init__(self, contents: Contents, *, api_base: str, company_id: str, clock: Clock) -> None:
        """Raises LedgerRefused when the contents are bound to another Ditio."""
        contents.binding = bound(contents.binding, binding_of(api_base, company_id), "the ledger in memory")
        self._contents = contents
        self._clock = clock
        self._closed = False

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock.now()

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        """The smaller of `at` and what is stored, which it then is."""
        seen = self._open().seen
        seen[source, event_id] = first = min(at, seen.get((source, event_id), at))
        return first

    async def load(self, key: Key) -> WorkOrder:
        """What is known of a work order (an empty one when nothing is)."""
        return self._open().orders.get(key) or WorkOrder(key)

    async def commit(self, order: WorkOrder, happened: Sequence[Happened] = ()) -> None:
        """Merges the record, replaces task and doubt, appends to the history."""
        contents = self._open()
        stored = contents.orders.get(order.key)
        if stored is not None:
            order = msgspec.structs.replace(order, record=merge(stored.record, order.record))
        contents.orders[order.key] = order
        contents.history += ((order.key, line) for line in happened)

    async def due(self, now: float, limit: int) -> Sequence[Key]:
        """The work orders whose doubt is over at `now`, the longest overdue first."""
        doubtful = [(order.doubt_until, key) for key, order in self._open().orders.items() if order.doubt_until > 0]
        return [key for until, key in sorted(doubtful) if until <= now][:limit]

    async def next_due(self) -> float | None:
        """When the next doubt ends."""
        return min((order.doubt_until for order in self._open().orders.values() if order.doubt_until > 0), default=None)

    async def with_external_id(self, external_id: str) -> Sequence[WorkOrder]:
        """The work orders with exactly this external id."""
        orders = self._open().orders
        return [orders[key] for key in sorted(orders) if key.external_id == external_id]

    async def with_task(self, task_id: str) -> Sequence[WorkOrder]:
        """The work orders that are this task."""
        orders = self._open().orders
        return [orders[key] for key in sorted(orders) if orders[key].task_id == task_id]

    async def history(self, key: Key, limit: int = 1000) -> Sequence[Happened]:
        """The last lines of a work order, oldest first."""
        newest = (line for owner, line in reversed(self._open().history) if owner == key)
        return list(islice(newest, limit))[::-1]

    async def last_event(self, project_id: str) -> tuple[Key, Happened] | None:
        """The newest line that an event left in a project."""
        newest = reversed(self._open().history)
        lines = [(key, line) for key, line in newest if key.project_id == project_id and line.id]
        return max(lines, key=lambda entry: entry[1].at, default=None)

    async def work_orders(self) -> int:
        """How many work orders are known."""
        return len(self._open().orders)

    async def paused(self) -> Pause | None:
        """The pause in force."""
        return self._open().pause

    async def pause(self, reason: str, by: str) -> None:
        """Notes a pause."""
        self._open().pause = Pause(reason, by, self.now())

    async def resume(self) -> None:
        """Ends the pause."""
        self._open().pause = None

    async def binding(self) -> Binding | None:
        """What the contents are bound to."""
        return self._open().binding

    async def prove(self) -> None:
        """Nothing can go wrong."""

    async def prune(self, before: int) -> int:
        """Removes old history, and what was seen of events that can meet no equal any more."""
        contents = self._open()
        old = [(key, line) for key, line in contents.history if line.at < before]
        contents.history = [(key, line) for key, line in contents.history if line.at >= before]
        for key, line in old:
            if line.id:
                contents.kept.setdefault(key, {})[line.source, line.id] = line.time
        for key in sorted({key for key, _ in old}):
            self._forget(key)
        return len(old)

    async def close(self) -> None:
        """Refuses everything from now on; the contents stay."""
        self._closed = True

    def _forget(self, key: Key) -> None:
        standing = retention.times(self._contents.orders[key].record)
        alive = {(line.source, line.id) for owner, line in self._contents.history if owner == key}
        kept = self._contents.kept.get(key, {})
        for event, time in list(kept.items()):
            if event not in alive and not retention.needed(time, standing):
                del kept[event]
                self._contents.seen.pop(event, None)

    def _open(self) -> Contents:
        if self._closed:
            raise LedgerError("the ledger is closed")
        return self._contents
