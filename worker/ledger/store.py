"""What a ledger offers beyond the event flow: to operators' commands, to metrics and to the worker's housekeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol

from worker.ledger.entries import Aside, Binding, Counted, Ended, Indexed, Pause, Replaying, Run, Unsettled
from worker.ports import Happened, Key, Ledger, WorkOrder


class Reader(Protocol):
    """What may be asked of a ledger while a worker uses it. Every method raises LedgerError when it cannot do its work."""

    def now(self) -> float:
        """The ledger's clock: seconds since 1970."""
        ...

    async def load(self, key: Key) -> WorkOrder:
        """What is known of a work order (an empty one when nothing is)."""
        ...

    async def seen(self, source: str, event_id: str) -> int | None:
        """When (microseconds since 1970) this event was first received; None when it is not known to have been."""
        ...

    async def with_external_id(self, external_id: str) -> Sequence[WorkOrder]:
        """The work orders with exactly this external id, in the order of their projects."""
        ...

    async def with_task(self, task_id: str) -> Sequence[WorkOrder]:
        """The work orders that are this task of Ditio's: more than one only if a key was changed there."""
        ...

    async def history(self, key: Key, limit: int = 1000) -> Sequence[Happened]:
        """The last `limit` lines of what happened to a work order, in the order in which they were committed."""
        ...

    async def last_event(self, project_id: str | None = None) -> tuple[Key, Happened] | None:
        """The newest line of history (by `at`) that an event left in a project, or in any."""
        ...

    async def outcomes(self, since: int) -> Mapping[str, int]:
        """How many events ended how since then (microseconds since 1970), by the history."""
        ...

    async def next_due(self) -> float | None:
        """When the next doubt ends, or something owed is due."""
        ...

    async def work_orders(self) -> int:
        """How many work orders are known."""
        ...

    async def doubts(self) -> int:
        """How many work orders are in doubt, or due for the look-up that ends it."""
        ...

    async def letters(self) -> Sequence[Counted]:
        """The dead letters that are known to be in their queue, by reason."""
        ...

    async def replaying(self) -> Sequence[Replaying]:
        """The letters that a replay has noted and not yet crossed out, the oldest note first."""
        ...

    async def newest(self) -> int:
        """The number of the newest line of history (0: there is none). Numbers grow, unless everything was pruned."""
        ...

    async def ended(self, after: int, limit: int = 10_000) -> Sequence[Ended]:
        """The first `limit` lines of history after that number, in the order in which they were committed."""
        ...

    async def paused(self) -> Pause | None:
        """The pause in force, if there is one."""
        ...

    async def waiting(self) -> Sequence[Aside]:
        """The events in the wait queues, those that wait longest first."""
        ...

    async def unsettled(self) -> Unsettled:
        """The same, counted."""
        ...

    async def runs(self, since: float) -> Sequence[Run]:
        """The workers that started since then (seconds since 1970), and the one before them; the newest first.

        Of several that run now only the newest of all is told of.
        """
        ...

    async def binding(self) -> Binding | None:
        """What the ledger is bound to; None before its first worker."""
        ...

    async def close(self) -> None:
        """Finishes what is under way and lets go of the ledger. Closing again does nothing."""
        ...


class Store(Ledger, Reader, Protocol):
    """A ledger that a worker has opened."""

    async def pause(self, reason: str, by: str) -> None:
        """Notes that no events are to be taken from now on. A pause that is in force is replaced."""
        ...

    async def resume(self) -> Pause | None:
        """Ends the pause that is in force, and tells which. After one for `mass-change` harms are counted from nothing again.

        It notes when, too: that also ends a worker's own pause for its environment.
        """
        ...

    async def spend(self, harms: Sequence[str], most: int) -> bool:
        """Counts harms (see worker.core.harm) that are about to be done, unless those of the last hour would become more than `most`.

        Then nothing is counted, the pause `mass-change` is in force unless another is, and the answer is no.
        """
        ...

    async def put_aside(self, aside: Aside) -> None:
        """Notes an event that was put into a wait queue (again)."""
        ...

    async def taken_up(self, source: str, event_id: str) -> None:
        """Notes that an event waits no more, if it did."""
        ...

    async def forget_waiting(self, back_before: int) -> int:
        """Forgets the events that should have left their wait queue by then (microseconds since 1970); returns how many."""
        ...

    async def mark(self) -> None:
        """Notes, in the ledger and beside it, how far it has come; so that it can be told when an older one takes its place."""
        ...

    async def restored(self) -> bool:
        """Whether it was put back to an older state, and its records were not yet compared with Ditio."""
        ...

    async def projects(self) -> Sequence[str]:
        """The ids of the projects of which work orders are known."""
        ...

    async def of_project(self, project_id: str) -> Sequence[WorkOrder]:
        """The work orders of a project."""
        ...

    async def rebase(self, orders: Sequence[WorkOrder]) -> None:
        """Replaces records and tasks, without merging: by what Ditio shows, after the ledger was put back."""
        ...

    async def believe(self) -> None:
        """Notes that the records were compared."""
        ...

    async def living(self) -> int:
        """How many workers use this ledger now, this one among them: from `arrive` to `leave`, or until the server has lost one."""
        ...

    async def begin_run(self) -> None:
        """Notes that a worker starts."""
        ...

    async def end_run(self) -> None:
        """Notes that the worker that began a run here ends in order."""
        ...

    async def prove(self) -> None:
        """Commits something that says nothing: shows that it can be done, or raises LedgerError."""
        ...

    async def letters_written(self, letters: Sequence[Indexed]) -> None:
        """Adds letters to the index; those that it has stay as they are."""
        ...

    async def letters_removed(self, ids: Sequence[str]) -> None:
        """Takes letters out of the index."""
        ...

    async def letters_are(self, letters: Sequence[Indexed]) -> None:
        """Makes the index anew from what is in the queue."""
        ...

    async def replay_begins(self, letters: Sequence[Replaying]) -> None:
        """Notes that these letters are about to be published; a letter that has a note gets this one."""
        ...

    async def replay_ends(self, ids: Sequence[str]) -> None:
        """Crosses out the notes of letters that were taken out, or turned out not to have been published."""
        ...

    async def prune(self, before: int) -> int:
        """Removes history from before this moment (microseconds since 1970) and returns how many lines.

        With its last line goes an event's first-seen, unless a cell or floor of the work order has the event's time: a
        duplicate must still take the place of its original. Work orders stay. An event that left no history stays seen.
        """
        ...


class Unshared:
    """The locks of a ledger that one worker uses at a time: they cost nothing, and nothing can be lost."""

    def hold(
        self,
        key: Key,  # noqa: ARG002  the same for every work order
        aside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,  # noqa: ARG002  nobody else has it
    ) -> AbstractAsyncContextManager[None]:
        """See worker.ports.WorkOrderLocks."""
        return nullcontext()

    def assure(self, key: Key) -> None:
        """See worker.ports.WorkOrderLocks."""
