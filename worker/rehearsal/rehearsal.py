"""One message at a time through the worker's own processing, and what it would have come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from worker.core.message import Message
from worker.core.outcome import Waiting
from worker.core.rehearsed import Rehearsed, rehearsed
from worker.handling import Handling, Taken
from worker.ledger import Reader
from worker.ports import Clock, Delivery, Ditio, Ledger, Resolver
from worker.process import Process
from worker.reconcile import Conclusion, Reconciler
from worker.rehearsal.ledger import Beside
from worker.rehearsal.snapshot import NEW, Snapshot

Assemble: TypeAlias = Callable[[Ledger, Ditio], tuple[Resolver, Reconciler]]
"""Makes the parts that reconcile over a ledger and a Ditio; no doubt of theirs may last."""


class Rehearsal:
    """Nothing is written: not to Ditio, and not to `known`, the worker's ledger (None: it knows nothing yet)."""

    def __init__(self, handling: Handling, ditio: Ditio, known: Reader | None, clock: Clock, assemble: Assemble) -> None:
        self._snapshot = Snapshot(ditio)
        self._settled: list[tuple[Taken, Conclusion]] = []
        self._troubles: list[Exception] = []
        self._received_at = int(clock.now() * 1_000_000)
        ledger = Beside(known, clock)
        resolver, reconciler = assemble(ledger, self._snapshot)
        self._process = Process(
            handling,
            ledger=ledger,
            ditio=self._snapshot,
            resolver=resolver,
            reconciler=reconciler,
            publisher=Nowhere(),
            clock=clock,
            observer=self,
            trouble=self._troubles.append,
            sure_of_clock=ditio.control,
        )

    async def of(self, message: Message) -> Rehearsed:
        """What the next event would do, after those before it.

        Raises Outage when Ditio cannot be asked, LedgerError when the ledger cannot.
        """
        self._snapshot.sent.clear()
        self._received_at += 1
        delivery = Unacknowledged(message, self._received_at)
        taken, conclusion = await self._take(delivery)
        if isinstance(conclusion.outcome, Waiting) and conclusion.outcome.kind == "settling":
            taken, conclusion = await self._take(delivery)  # a doubt of the rehearsal's own is over at once
        task_id = None if (conclusion.task_id or "").startswith(NEW) else conclusion.task_id
        kind = taken.event.type if taken.event else None
        return rehearsed(kind, taken.identity, conclusion.outcome, self._snapshot.sent, task_id)

    async def _take(self, delivery: Delivery) -> tuple[Taken, Conclusion]:
        await self._process.take(delivery)
        if self._troubles:
            raise self._troubles.pop()
        return self._settled.pop()

    # --- what the process tells its observer

    def received(self, delivery: Delivery) -> None:
        """Not of interest here."""

    async def settling(self, taken: Taken, conclusion: Conclusion, step: int) -> None:
        """Nothing is kept."""

    def settled(self, taken: Taken, conclusion: Conclusion, seconds: float) -> None:  # noqa: ARG002 - how long does not matter
        """How the event ended."""
        self._settled.append((taken, conclusion))

    def released(self, delivery: Delivery) -> None:
        """Not of interest here."""


class Unacknowledged(msgspec.Struct, frozen=True):
    """A message that no broker waits for."""

    message: Message
    received_at: int

    def ack(self) -> None:
        """Nobody asked for it."""


class Nowhere:
    """Where letters and waiting messages go."""

    async def publish(self, queue: str, message: Message) -> None:
        """Forgets the message."""
