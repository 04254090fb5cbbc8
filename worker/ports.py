"""What the shell hands to processing: small interfaces, so that a simulation can stand in for each with a real implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Literal, Protocol, TypeAlias

import msgspec

from worker.core.caution import Standing
from worker.core.event import ProjectRef
from worker.core.message import Message
from worker.core.plan import Call
from worker.core.record import Record

Task: TypeAlias = Mapping[str, object]
"""A task as Ditio's JSON has it."""


class Key(msgspec.Struct, frozen=True, order=True):
    """The identity of a work order, exactly."""

    project_id: str
    external_id: str


class Project(msgspec.Struct, frozen=True):
    """A Ditio project as far as the worker needs it."""

    id: str
    number: str | None
    external_number: str | None
    company_id: str | None = None


class Happened(msgspec.Struct, frozen=True):
    """A line of a work order's history. `at` and `first_seen` in microseconds since 1970, `outcome` as the metrics name it.

    `source`, `id`, `type`, `time` are the event's (empty for due work); `calls` are the operations made; `before` the values that were replaced.
    """

    at: int
    outcome: str
    source: str = ""
    id: str = ""
    type: str = ""
    time: str = ""
    first_seen: int = 0
    detail: str = ""
    calls: tuple[str, ...] = ()
    before: Mapping[str, object] = {}


class WorkOrder(msgspec.Struct, frozen=True):
    """What the ledger keeps of a work order.

    `record` is what Ditio has confirmed; `task_id` Ditio's id, when known; until `doubt_until` (seconds since 1970 by the ledger's
    clock, 0: no doubt) a request that was given up may still take effect, and afterwards a look-up is due.

    `parent_id` is the task that Ditio is known to show it under, and `parent` that one's externalId where the events named it so;
    `marked`: Ditio is known to show it as a parent because a work order lies under it; `named`: one does now (told by the ledger).
    `owed` counts what others have caused that it has not been compared with since, which is due from `owed_at` on.
    """

    key: Key
    record: Record = Record()
    task_id: str | None = None
    doubt_until: float = 0.0
    parent: str | None = None
    parent_id: str | None = None
    marked: bool = False
    named: bool = False
    owed: int = 0
    owed_at: float = 0.0


class Suspects(msgspec.Struct, frozen=True):
    """The marks of messages that something is held against. `tense`: nothing was settled since one of them used up its notes."""

    marks: frozenset[str] = frozenset()
    tense: bool = False


class WorkOrderLocks(Protocol):
    """One work order, one worker at a time, over all workers that share a ledger. Within a worker its lanes see to that."""

    def hold(
        self, key: Key, aside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    ) -> AbstractAsyncContextManager[None]:
        """Holds the lock on a work order for as long as the block lasts. `aside` is entered while another worker has it.

        Raises LedgerError when it cannot be had.
        """
        ...

    def assure(self, key: Key) -> None:
        """Raises LedgerError when the lock on a work order that is held was lost. To be asked before each effect upon Ditio."""
        ...


class Ledger(WorkOrderLocks, Protocol):
    """The store of records. Every method raises LedgerError when it cannot do its work; what it returned from is durable."""

    def now(self) -> float:
        """The ledger's clock: seconds since 1970."""
        ...

    async def arrive(self) -> bool:
        """A worker begins. Whether the one before it ended in order, so that what comes back from the broker was only given back."""
        ...

    async def leave(self) -> None:
        """The worker ends in order."""
        ...

    # --- who breaks the worker; a message is known by its mark, a worker by a name that is its process's alone

    async def suspects(self) -> Suspects:
        """What is held against whom."""
        ...

    async def standing(self, mark: str, worker: str) -> Standing:
        """What is held against one message; a note of this worker itself does not count."""
        ...

    async def note(self, mark: str, worker: str) -> None:
        """This worker touches this message now. Noting again changes nothing."""
        ...

    async def lift(self, mark: str, worker: str) -> None:
        """This worker does not, for the time being: its note is gone."""
        ...

    async def settled(self, mark: str) -> None:
        """The message was handled to its end: nothing is held against it, and whoever used up its notes is not in a row with others."""
        ...

    async def broke(self, mark: str, *, condemned: bool) -> None:
        """The message has used up its notes. `condemned` for good."""
        ...

    async def forgive(self) -> None:
        """Removes all notes: no message was to blame. Who was condemned remains so, and who used up its notes is still counted."""
        ...

    async def resumed(self) -> float:
        """When an operator last said to go on (seconds since 1970; 0: never)."""
        ...

    # --- work orders

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        """When (microseconds since 1970) this event was first received: the smaller of `at` and what is stored, which it then is."""
        ...

    async def load(self, key: Key) -> WorkOrder:
        """What is known of a work order (an empty one when nothing is)."""
        ...

    async def commit(self, order: WorkOrder, happened: Sequence[Happened] = (), *, paid: bool = False) -> None:
        """Stores a work order and lines of its history. The record is merged into the stored one; the rest replaces it.

        `paid`: what was owed when it was loaded is done. Otherwise it stays, due at `owed_at` unless more was caused meanwhile.
        Raises LedgerError when another worker has taken up the work order since its lock was lost.
        With the same commit something is owed, at once, to the work order that it lies under, or no longer lies under; and, when
        its task has another id, to those that lie under it by name.
        """
        ...

    async def due(self, now: float, limit: int) -> Sequence[Key]:
        """The work orders whose doubt is over, or to which something is owed, at `now`; the longest overdue first."""
        ...

    async def next_due(self) -> float | None:
        """When the next of them is due."""
        ...


class Reply(msgspec.Struct, frozen=True):
    """Ditio's answer to a write. `task` is the task when the answer held it; `attempts` the requests made;
    `lingering` says that one of them was given up before and may still take effect."""

    task: Task | None = None
    attempts: int = 1
    lingering: bool = False


class Ditio(Protocol):
    """Ditio's API, as far as events need it. Every method raises ApiError (NotSent, UnknownOutcome, Refused, Missing) or Outage.

    Look-ups answer None or an empty sequence when there is nothing. They return what the API said; comparing keys is the caller's part.
    Reads, and writes that may be repeated, are retried in place; a POST is not once it may have been received.
    """

    async def send(self, call: Call, project: Project, *, starting: Callable[[], Awaitable[None]] | None = None) -> Reply:
        """Carries out a planned call. Create adds company and project ids; Replace reads the task, lays the values over it and PUTs it.

        `starting` is awaited each time that a creation goes out, immediately before it: what must be durable by then.
        """
        ...

    async def control(self) -> None:
        """The read that must succeed: the company's projects. Raises Outage (`circuit` or `credentials`) when it does not."""
        ...

    async def projects_by_number(self, number: str) -> Sequence[Project]:
        """All that the look-up shows: it may show but one of several."""
        ...

    async def project_by_id(self, project_id: str) -> Project | None: ...

    async def projects(self) -> Sequence[Project]: ...

    async def task_by_id(self, task_id: str) -> Task | None: ...

    async def tasks_by_number(self, project_number: str, external_id: str) -> Sequence[Task]:
        """All matches for project number + task number."""
        ...

    async def tasks_of_project(self, project_id: str) -> Sequence[Task]: ...

    async def person_by_number(self, employee_number: str) -> Mapping[str, object] | None: ...


class Resolver(Protocol):
    """Turns what events name into Ditio's ids, with caches that `fresh` passes by. Raises Absent, Ambiguous, ApiError or Outage."""

    async def project(self, ref: ProjectRef, *, fresh: bool = False) -> Project: ...

    async def person(self, employee_number: str, *, fresh: bool = False) -> str: ...

    async def parent(self, project: Project, external_id: str, *, fresh: bool = False) -> str:
        """The id of the task of this project and externalId."""
        ...

    async def parent_name(self, project: Project, task_id: str, *, fresh: bool = False) -> str | None:
        """The externalId of a task of this project (None: it has none). Raises Elsewhere when it is another project's."""
        ...

    async def tasks(self, project: Project, external_id: str, *, listed: bool = False, recent: bool = False) -> Sequence[Task]:
        """The tasks of exactly this project and externalId, past every cache. `listed` also searches a listing of the project.

        `recent`: a listing of the last minute will do, for a work order that is not known and not in doubt.
        """
        ...

    def created(self, key: Key, task_id: str) -> None:
        """Tells of a task that was made or found, so that nobody goes on believing that it is missing."""
        ...

    def gone(self, key: Key) -> None:
        """Tells of a task that was deleted, so that nobody goes on believing that it is there."""
        ...


class Delivery(Protocol):
    """A message and its right to be acknowledged, which belongs to the channel that it came on."""

    @property
    def message(self) -> Message: ...

    @property
    def received_at(self) -> int:
        """Microseconds since 1970, strictly growing from delivery to delivery within a worker."""
        ...

    def ack(self) -> None:
        """Acknowledges; after the channel is gone the acknowledgement is dropped and counted."""
        ...


class Publisher(Protocol):
    """Confirmed, mandatory publishing to a queue by name."""

    async def publish(self, queue: str, message: Message) -> None:
        """Returns when the broker has confirmed it; raises BrokerError when it was refused, unroutable or the connection is gone."""
        ...


class Clock(Protocol):
    """Time, sleep and chance, so that a simulated clock can stand in."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that only goes forward."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def chance(self) -> float:
        """A random number in [0, 1)."""
        ...


OperationName: TypeAlias = Literal[
    "token",
    "control",
    "project_list",
    "project_get",
    "task_get",
    "task_list",
    "task_find",
    "task_create",
    "task_update",
    "task_replace",
    "task_delete",
    "person_find",
]
