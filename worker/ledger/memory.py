"""A ledger in memory: for rehearsals that must leave no trace, and for simulations. What it holds ends with the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from worker.core.errors import LedgerError
from worker.core.record import merge
from worker.ledger import retention
from worker.ledger.store import Binding, Pause, Unshared, binding_of, bound
from worker.ports import Clock, Happened, Key, WorkOrder


@dataclass
class Contents:
    """What outlives the closing of a ledger: handed to the next one, it is there again. `below` holds who lies under whom."""

    orders: dict[Key, WorkOrder] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    kept: dict[Key, dict[tuple[str, str], str]] = field(default_factory=dict)
    history: list[tuple[Key, Happened]] = field(default_factory=list)
    binding: Binding | None = None
    pause: Pause | None = None
    below: dict[Key | str, dict[Key, None]] = field(default_factory=dict)

    def put(self, order: WorkOrder) -> None:
        """Stores a work order, and where it lies."""
        if (before := self.orders.get(order.key)) is not None:
            for above in _above(before):
                self.below[above].pop(order.key, None)
        self.orders[order.key] = order
        for above in _above(order):
            self.below.setdefault(above, {})[order.key] = None

    def lies_under(self, order: WorkOrder) -> bool:
        """Whether any work order lies under this one."""
        return bool(self.below.get(order.key)) or (order.task_id is not None and bool(self.below.get(order.task_id)))

    def concerned(self, before: WorkOrder, after: WorkOrder) -> Sequence[Key]:
        """Those above and below for whom something follows from a change of place or of the task's id."""
        keys: list[Key] = []
        if (before.parent, before.parent_id) != (after.parent, after.parent_id):
            for order in (before, after):
                if order.parent is not None:
                    keys.append(Key(order.key.project_id, order.parent))
                elif order.parent_id is not None:
                    keys += [key for key in sorted(self.orders) if self.orders[key].task_id == order.parent_id]
        if after.task_id not in (None, before.task_id):
            keys += [key for key in self.below.get(after.key, ()) if self.orders[key].parent_id != after.task_id]
        return keys


def _above(order: WorkOrder) -> list[Key | str]:
    """What a work order lies under: a work order by its name, a task by its id."""
    named = [Key(order.key.project_id, order.parent)] if order.parent is not None else []
    return [*named, *([order.parent_id] if order.parent_id is not None else [])]


class MemoryLedger(Unshared):
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
        contents = self._open()
        order = contents.orders.get(key) or WorkOrder(key)
        return msgspec.structs.replace(order, named=contents.lies_under(order))

    async def commit(self, order: WorkOrder, happened: Sequence[Happened] = (), *, paid: bool = False) -> None:
        """Merges the record, replaces the rest, owes to others what follows from it, appends to the history."""
        contents = self._open()
        stored = contents.orders.get(order.key)
        before = stored or WorkOrder(order.key)
        contents.put(
            msgspec.structs.replace(
                order,
                record=merge(before.record, order.record),
                owed=before.owed - (order.owed if paid else 0),
                owed_at=order.owed_at if before.owed == order.owed else 0.0,
            )
        )
        for key in contents.concerned(before, order):
            known = contents.orders.get(key) or WorkOrder(key)
            contents.put(msgspec.structs.replace(known, owed=known.owed + 1, owed_at=0.0))
        contents.history += ((order.key, line) for line in happened)

    async def due(self, now: float, limit: int) -> Sequence[Key]:
        """The work orders whose doubt is over, or to which something is owed, at `now`; the longest overdue first."""
        return [key for at, key in sorted(self._dues()) if at <= now][:limit]

    async def next_due(self) -> float | None:
        """When the next of them is due."""
        return min((at for at, _ in self._dues()), default=None)

    def _dues(self) -> Iterator[tuple[float, Key]]:
        for key, order in self._open().orders.items():
            times = [at for at, counts in ((order.doubt_until, order.doubt_until > 0), (order.owed_at, order.owed > 0)) if counts]
            if times:
                yield min(times), key

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
