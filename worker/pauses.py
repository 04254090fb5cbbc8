"""The pause that is kept in the ledger, by hand or for a mass change: all workers on the ledger obey it, also after a restart.

pause / a harm too many ──► ledger ──► watched every second ──► flow.trouble ──► given back ──► probe: over? ──► taking
                               └─────► Gate: nothing is taken as long as it is in force
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from worker.core.errors import LedgerError, Outage
from worker.ledger import Pause, Store
from worker.ports import Clock

WATCH_S = 1.0
"""How often the ledger is asked."""


class Intake(Protocol):
    """See worker.flow.Intake."""

    async def start(self, most: int | None = None) -> None: ...
    async def cancel(self) -> None: ...
    async def give_back(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Pauses:
    """What the ledger says, and obeying it. `stop` ends the wait for the end of a pause."""

    def __init__(self, store: Store, clock: Clock, stop: asyncio.Event) -> None:
        self._store = store
        self._clock = clock
        self._stop = stop

    async def in_force(self) -> Outage | None:
        """The pause as what the flow understands, if there is one. Raises LedgerError."""
        pause = await self._store.paused()
        return Outage(pause.cause, worded(pause)) if pause is not None else None

    async def over(self) -> None:
        """Returns when there is no pause any more, or the worker is to stop. Raises LedgerError."""
        while await self.in_force() is not None and not self._stop.is_set():
            stopped = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait({stopped}, timeout=WATCH_S)
            stopped.cancel()

    async def watch(self, flowing: Callable[[], bool], trouble: Callable[[Exception], None]) -> None:
        """Tells of a pause that comes into force while events flow."""
        while True:
            await self._clock.sleep(WATCH_S)
            if not flowing():
                continue
            try:
                outage = await self.in_force()
            except LedgerError as error:
                trouble(error)
            else:
                if outage is not None:
                    trouble(outage)


class Gate:
    """An intake that does not start while a pause is in force: after a restart, or the end of another trouble, nothing slips through.

    `prepare` is what must be done before events are taken, once nothing is in the way of it.
    """

    def __init__(self, intake: Intake, pauses: Pauses, prepare: Callable[[], Awaitable[None]]) -> None:
        self._pauses = pauses
        self._prepare = prepare
        self._intake = intake
        self.cancel = intake.cancel
        self.give_back = intake.give_back
        self.pause = intake.pause
        self.resume = intake.resume

    async def start(self, most: int | None = None) -> None:
        """Begins to take messages, `most` at once. Raises Outage while it is paused, LedgerError, BrokerError."""
        if (outage := await self._pauses.in_force()) is not None:
            raise outage
        await self._prepare()
        await self._intake.start(most)


class MassChange:
    """Counts harms before they are done. `most` in an hour; 0: no guard."""

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._most = most

    async def __call__(self, harms: Sequence[str]) -> None:
        """Returns when these may be done. Raises Outage when they would be too many, which all workers then know; LedgerError."""
        if harms and self._most and not await self._store.spend(harms, self._most):
            pause = await self._store.paused()
            raise Outage("mass-change", worded(pause) if pause else "too many deactivations, deletions or clears within an hour")


def worded(pause: Pause) -> str:
    """Who, since when and why, as a sentence."""
    since = datetime.fromtimestamp(pause.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"paused by {pause.by} since {since}: {pause.reason}"
