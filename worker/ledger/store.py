"""What a ledger offers beyond the event flow: to operators' commands, to metrics and to the worker's housekeeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Protocol

import msgspec

from worker.core.errors import LedgerError
from worker.ports import Happened, Key, Ledger, WorkOrder


class LedgerRefused(LedgerError):
    """The ledger must not be used as it stands. The message is a sentence that says why and what to do (exit status 2)."""


class Binding(msgspec.Struct, frozen=True):
    """The Ditio that a ledger's records speak of."""

    api_base: str
    company_id: str


class Pause(msgspec.Struct, frozen=True):
    """That the worker is told to take no events: why, by whom, and since when (seconds since 1970)."""

    reason: str
    by: str
    at: float


class Reader(Protocol):
    """What may be asked of a ledger while a worker uses it. Every method raises LedgerError when it cannot do its work."""

    def now(self) -> float:
        """The ledger's clock: seconds since 1970."""
        ...

    async def load(self, key: Key) -> WorkOrder:
        """What is known of a work order (an empty one when nothing is)."""
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

    async def last_event(self, project_id: str) -> tuple[Key, Happened] | None:
        """The newest line of history (by `at`) that an event left in a project."""
        ...

    async def next_due(self) -> float | None:
        """When the next doubt ends, or something owed is due."""
        ...

    async def work_orders(self) -> int:
        """How many work orders are known."""
        ...

    async def paused(self) -> Pause | None:
        """The pause in force, if there is one."""
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

    async def resume(self) -> None:
        """Ends the pause, if there is one."""
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
        aside: Callable[[], AbstractContextManager[None]] = nullcontext,  # noqa: ARG002  nobody else has it
    ) -> AbstractAsyncContextManager[None]:
        """See worker.ports.WorkOrderLocks."""
        return nullcontext()

    def assure(self, key: Key) -> None:
        """See worker.ports.WorkOrderLocks."""


def bound(stored: Binding | None, wanted: Binding, where: str) -> Binding:
    """The binding to keep: the stored one, or at first use the wanted one. Raises LedgerRefused when they differ."""
    if stored is None or stored == wanted:
        return wanted
    raise LedgerRefused(
        f"{where} holds the records of company {stored.company_id} at {stored.api_base}, which say nothing about "
        f"company {wanted.company_id} at {wanted.api_base}: name another place in LEDGER_URL, "
        "or set DITIO_API_BASE and DITIO_COMPANY_ID to what it belongs to"
    )


def binding_of(api_base: str, company_id: str) -> Binding:
    """A binding as it is compared: a slash at the end of the address makes no difference."""
    return Binding(api_base.rstrip("/"), company_id)
