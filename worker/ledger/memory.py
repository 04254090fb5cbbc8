"""A ledger in memory: for rehearsals that must leave no trace, and for simulations. What it holds ends with the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from worker.core.caution import Standing
from worker.core.errors import LedgerError
from worker.core.harm import WINDOW_S, admitted
from worker.core.record import merge
from worker.ledger import retention
from worker.ledger.entries import (
    Aside,
    Binding,
    Counted,
    Ended,
    Indexed,
    Pause,
    Replaying,
    Run,
    Unsettled,
    binding_of,
    bound,
    mass_change,
)
from worker.ledger.memory_contents import Contents
from worker.ledger.store import Unshared
from worker.ports import Clock, Happened, Key, Suspects, WorkOrder

__all__ = ["Contents", "MemoryLedger"]


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

    async def arrive(self) -> bool:
        """Whether the worker before ended in order."""
        contents = self._open()
        in_order, contents.in_order = contents.in_order, False
        return in_order

    async def leave(self) -> None:
        """The worker ends in order."""
        self._open().in_order = True

    async def suspects(self) -> Suspects:
        """What is held against whom."""
        contents = self._open()
        return Suspects(frozenset(contents.notes) | contents.condemned, bool(contents.row))

    async def standing(self, mark: str, worker: str) -> Standing:
        """What is held against one message."""
        contents = self._open()
        return Standing(len(contents.notes.get(mark, set()) - {worker}), mark in contents.condemned, len(contents.row - {mark}))

    async def note(self, mark: str, worker: str) -> None:
        """This worker touches this message now."""
        self._open().notes.setdefault(mark, set()).add(worker)

    async def lift(self, mark: str, worker: str) -> None:
        """This worker does not, for the time being."""
        notes = self._open().notes
        workers = notes.pop(mark, set()) - {worker}
        if workers:
            notes[mark] = workers

    async def settled(self, mark: str) -> None:
        """The message was handled to its end."""
        contents = self._open()
        contents.notes.pop(mark, None)
        contents.row.clear()

    async def broke(self, mark: str, *, condemned: bool) -> None:
        """The message has used up its notes."""
        contents = self._open()
        contents.row.add(mark)
        if condemned:
            contents.condemned.add(mark)

    async def forgive(self) -> None:
        """Removes all notes."""
        self._open().notes.clear()

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        """The smaller of `at` and what is stored, which it then is."""
        seen = self._open().seen
        seen[source, event_id] = first = min(at, seen.get((source, event_id), at))
        return first

    async def seen(self, source: str, event_id: str) -> int | None:
        """When this event was first received."""
        return self._open().seen.get((source, event_id))

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

    async def last_event(self, project_id: str | None = None) -> tuple[Key, Happened] | None:
        """The newest line that an event left in a project, or in any."""
        newest = reversed(self._open().history)
        lines = [(key, line) for key, line in newest if project_id in (None, key.project_id) and line.id]
        return max(lines, key=lambda entry: entry[1].at, default=None)

    async def work_orders(self) -> int:
        """How many work orders are known."""
        return len(self._open().orders)

    async def letters(self) -> Sequence[Counted]:
        """The letters in the index, by reason."""
        letters = self._open().letters.values()
        reasons = sorted({each.reason for each in letters})
        return [
            Counted(reason, len(times), min(times))
            for reason in reasons
            for times in [[each.at for each in letters if each.reason == reason]]
        ]

    async def letters_written(self, letters: Sequence[Indexed]) -> None:
        """Adds letters to the index."""
        index = self._open().letters
        for each in letters:
            index.setdefault(each.id, each)

    async def letters_removed(self, ids: Sequence[str]) -> None:
        """Takes letters out of the index."""
        for each in ids:
            self._open().letters.pop(each, None)

    async def letters_are(self, letters: Sequence[Indexed]) -> None:
        """Makes the index anew."""
        self._open().letters.clear()
        await self.letters_written(letters)

    async def replaying(self) -> Sequence[Replaying]:
        """The notes of replays, oldest first."""
        return sorted(self._open().replays.values(), key=lambda each: (each.at, each.letter_id))

    async def replay_begins(self, letters: Sequence[Replaying]) -> None:
        """Notes what is about to be published."""
        self._open().replays.update((each.letter_id, each) for each in letters)

    async def replay_ends(self, ids: Sequence[str]) -> None:
        """Crosses out notes."""
        for each in ids:
            self._open().replays.pop(each, None)

    async def newest(self) -> int:
        """The number of the newest line of history."""
        contents = self._open()
        return contents.forgotten + len(contents.history)

    async def ended(self, after: int, limit: int = 10_000) -> Sequence[Ended]:
        """The lines of history after that number."""
        contents = self._open()
        first = max(after - contents.forgotten, 0)
        lines = contents.history[first : first + limit]
        return [
            Ended(contents.forgotten + number, line.source, line.id, line.outcome, line.detail)
            for number, (_, line) in enumerate(lines, first + 1)
        ]

    async def paused(self) -> Pause | None:
        """The pause in force."""
        return self._open().pause

    async def pause(self, reason: str, by: str) -> None:
        """Notes a pause."""
        self._open().pause = Pause(reason, by, self.now())

    async def resume(self) -> Pause | None:
        """Ends the pause, and tells which."""
        contents = self._open()
        ended, contents.pause, contents.resumed = contents.pause, None, self.now()
        if ended is not None and ended.cause == "mass-change":
            contents.harms.clear()
        return ended

    async def spend(self, harms: Sequence[str], most: int) -> bool:
        """Counts harms, or pauses and answers no."""
        contents, now = self._open(), self.now()
        contents.harms = {harm: at for harm, at in contents.harms.items() if at > now - WINDOW_S}
        more = [harm for harm in harms if harm not in contents.harms]
        if more and not admitted(len(contents.harms), len(more), most):
            contents.pause = contents.pause or Pause(mass_change(most), "the worker", now, "mass-change")
            return False
        contents.harms |= dict.fromkeys(more, now)
        return True

    async def put_aside(self, aside: Aside) -> None:
        """Notes an event in a wait queue."""
        self._open().asides[aside.source, aside.id] = aside

    async def taken_up(self, source: str, event_id: str) -> None:
        """Notes that an event waits no more."""
        self._open().asides.pop((source, event_id), None)

    async def forget_waiting(self, back_before: int) -> int:
        """Forgets what should have come back by then."""
        asides = self._open().asides
        overdue = [event for event, aside in asides.items() if aside.back_at < back_before]
        for event in overdue:
            del asides[event]
        return len(overdue)

    async def waiting(self) -> Sequence[Aside]:
        """The events in the wait queues, those that wait longest first."""
        return sorted(self._open().asides.values(), key=lambda each: (each.since, each.source, each.id))

    async def unsettled(self) -> Unsettled:
        """The same, counted."""
        asides = self._open().asides.values()
        work_orders = {(each.state, each.place, each.external_id) for each in asides}
        return Unsettled(Counter(each.kind for each in asides), Counter(state for state, _, _ in work_orders))

    async def outcomes(self, since: int) -> Mapping[str, int]:
        """How many events ended how since then."""
        return Counter(line.outcome for _, line in self._open().history if line.at >= since and line.id)

    async def doubts(self) -> int:
        """How many work orders are in doubt, or due."""
        return sum(order.doubt_until > 0 for order in self._open().orders.values())

    async def mark(self) -> None:
        """Nothing takes the place of what is in memory."""

    async def restored(self) -> bool:
        """Whether the contents were said to be an older state."""
        return self._open().restored

    async def projects(self) -> Sequence[str]:
        """The ids of the projects of which work orders are known."""
        return sorted({key.project_id for key in self._open().orders})

    async def of_project(self, project_id: str) -> Sequence[WorkOrder]:
        """The work orders of a project."""
        orders = self._open().orders
        return [orders[key] for key in sorted(orders) if key.project_id == project_id]

    async def rebase(self, orders: Sequence[WorkOrder]) -> None:
        """Replaces records and tasks, without merging."""
        self._open().orders |= {order.key: order for order in orders}

    async def believe(self) -> None:
        """Notes that the records were compared."""
        self._open().restored = False

    async def living(self) -> int:
        """One: nobody else may use it."""
        return 1

    async def begin_run(self) -> None:
        """Notes that a worker starts."""
        self._open().runs.append(Run(self.now(), None))

    async def end_run(self) -> None:
        """Notes that it ends in order."""
        runs = self._open().runs
        runs[-1:] = [msgspec.structs.replace(run, ended=self.now()) for run in runs[-1:]]

    async def runs(self, since: float) -> Sequence[Run]:
        """The workers that started since then, and the one before; the newest first."""
        runs = self._open().runs
        recent = sum(run.started >= since for run in runs)
        return runs[-recent - 1 :][::-1]

    async def resumed(self) -> float:
        """When an operator last said to go on."""
        return self._open().resumed

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
        contents.forgotten += len(old)
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
