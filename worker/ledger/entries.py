"""What a ledger holds beside work orders, and why one may not be used: plain values, whatever it is kept in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from worker.core.errors import LedgerError, PauseCause
from worker.core.outcome import Reason, WaitKind


class LedgerRefused(LedgerError):
    """The ledger must not be used as it stands. The message is a sentence that says why and what to do (exit status 2)."""


class NoLedger(LedgerRefused):
    """There is none in this place yet."""


class SchemaBehind(LedgerRefused):
    """Its schema is of an older version: a worker of this one brings it up to date when it starts."""


class Binding(msgspec.Struct, frozen=True):
    """The Ditio that a ledger's records speak of."""

    api_base: str
    company_id: str


class Pause(msgspec.Struct, frozen=True):
    """That the worker is told to take no events: why, by whom, and since when (seconds since 1970)."""

    reason: str
    by: str
    at: float
    cause: PauseCause = "manual"


State: TypeAlias = Literal["missing", "stale"]
"""What is wrong in Ditio with a work order of which an event waits: it is not there, or not all of it is."""


class Aside(msgspec.Struct, frozen=True):
    """An event in a wait queue: what it waits for, in whose work order, and since when.

    `project` is the project as the event gives it, `project_id` its id where it is known. `since` is when a worker first received
    the event and `back_at` when it leaves the wait queue, both in microseconds since 1970; `waited_s` counts the steps before.
    """

    source: str
    id: str
    type: str
    kind: WaitKind
    state: State
    project: str
    external_id: str
    reason: Reason
    detail: str
    since: int
    back_at: int
    field: str = ""
    project_id: str | None = None
    waited_s: int = 0

    @property
    def place(self) -> str:
        """What tells work orders of different projects apart."""
        return self.project_id or self.project


class Unsettled(msgspec.Struct, frozen=True):
    """How many events wait for what, and how many distinct work orders are therefore wrong in Ditio."""

    kinds: Mapping[WaitKind, int]
    states: Mapping[State, int]


class Run(msgspec.Struct, frozen=True):
    """A worker's time on this ledger, in seconds since 1970. `ended` is None while it lasts, and when it did not end in order."""

    started: float
    ended: float | None


class Indexed(msgspec.Struct, frozen=True):
    """A dead letter as the index has it: its id, its reason (or `unknown`), and when it was written (microseconds since 1970)."""

    id: str
    reason: Reason | Literal["unknown"]
    at: int


class Counted(msgspec.Struct, frozen=True):
    """How many letters of a reason the index has, and when the oldest of them was written (microseconds since 1970)."""

    reason: Reason | Literal["unknown"]
    letters: int
    oldest: int


class Replaying(msgspec.Struct, frozen=True):
    """That a replay is about to publish a dead letter: the letter, the replay, the event, and when (seconds since 1970).

    `after` is the number of a line of history that was there before: what later lines say of the event may come of this replay.
    """

    letter_id: str
    replay_id: str
    source: str
    event_id: str
    after: int
    at: float


class Ended(msgspec.Struct, frozen=True):
    """A line of history, by its number: what became of an event."""

    number: int
    source: str
    event_id: str
    outcome: str
    detail: str = ""


def mass_change(most: int) -> str:
    """The reason of the pause, in words."""
    return (
        f"more than {most} deactivations, deletions or clears within an hour (WORKER_MAX_DEACTIVATIONS_PER_H): if they are meant, "
        "ditio-worker resume lets as many through again"
    )


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
