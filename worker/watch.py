"""What the worker shows of each event: counters, gauges and one log line when it is settled."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Protocol

from worker.core.outcome import Applied, Dead, Failure, OutcomeName, Reason, Waiting, name
from worker.handling import Taken
from worker.ledger import Aside
from worker.letters import Index, Letters
from worker.ports import Clock, Delivery
from worker.reconcile import Conclusion

log = logging.getLogger("worker.events")


class Meter(Protocol):
    """The part of the metrics that events touch; see worker.metrics.Metrics."""

    def event_received(self, source: str | None, at: float) -> None: ...
    def event_settled(self, source: str | None, event_type: str, outcome: OutcomeName, seconds: float) -> None: ...
    def event_applied(self, event_type: str, delay: float) -> None: ...
    def letter_buried(self, reason: Reason) -> None: ...
    def stamp_tie(self, source: str | None) -> None: ...
    def unknown_fields(self, source: str | None, fields: int) -> None: ...
    def coalesced(self, events: int) -> None: ...
    def held(self, size: int) -> None: ...


class Indexes(Index, Protocol):
    """The part of the ledger that knows what waits, and what letters there are; see worker.ledger.Store."""

    async def put_aside(self, aside: Aside) -> None: ...
    async def taken_up(self, source: str, event_id: str) -> None: ...


class Watch:
    """Is told of events by the process, and tells the metrics and the log."""

    def __init__(self, meter: Meter, index: Indexes, clock: Clock) -> None:
        self._meter = meter
        self._waiting = index
        self._clock = clock
        self._held = 0
        self.letters = Letters(index)

    def received(self, delivery: Delivery) -> None:
        """A message was taken from the broker."""
        self._hold(len(delivery.message.body))

    def released(self, delivery: Delivery) -> None:
        """A message is no longer held: it was settled, or given back."""
        self._hold(-len(delivery.message.body))

    async def settling(self, taken: Taken, conclusion: Conclusion, step: int) -> None:
        """Keeps the index of what waits true, before the message is acknowledged: `step` seconds in a wait queue, or no more. Raises LedgerError."""
        if isinstance(conclusion.outcome, Waiting):
            back_at = int((self._clock.now() + step) * 1_000_000)
            await self._waiting.put_aside(_aside(taken, conclusion, conclusion.outcome, back_at))
        elif taken.travel.first_seen is not None:
            await self._waiting.taken_up(taken.identity.source, taken.identity.id)

    def settled(self, taken: Taken, conclusion: Conclusion, seconds: float) -> None:
        """A message was acknowledged, `seconds` after it was taken."""
        outcome = conclusion.outcome
        at = taken.delivery.received_at / 1_000_000
        self._meter.event_received(taken.source, at)
        self._meter.event_settled(taken.source, taken.identity.type, name(outcome), seconds)
        if isinstance(outcome, Applied):
            published = _published(taken)
            self._meter.event_applied(taken.identity.type, at + seconds - published)
        if isinstance(outcome, Dead):
            self._meter.letter_buried(outcome.failure.reason)
            self.letters.wrote(taken.letter_id, outcome.failure.reason, taken.delivery.received_at + int(seconds * 1_000_000))
        if conclusion.tied:
            self._meter.stamp_tie(taken.source)
        if conclusion.spared:
            self._meter.coalesced(1)
        if taken.event is not None and taken.event.unknown_fields:
            self._meter.unknown_fields(taken.source, len(taken.event.unknown_fields))
        log.info("settled", extra=described(taken, conclusion, seconds))

    def _hold(self, size: int) -> None:
        self._held += size
        self._meter.held(self._held)


def described(taken: Taken, conclusion: Conclusion, seconds: float) -> dict[str, object]:
    """The fields of the log line of a settled event: ids only."""
    failure = _failure(conclusion)
    return {
        "event_id": taken.identity.id,
        "event_type": taken.identity.type,
        "source": taken.identity.source,
        "project": taken.identity.project,
        "external_id": taken.identity.external_id,
        "outcome": name(conclusion.outcome),
        "reason": failure.reason if failure else None,
        "field": (failure.field or None) if failure else None,
        "duration_ms": round(seconds * 1000, 1),
        "task_id": conclusion.task_id,
        "calls": list(conclusion.calls),
    }


def _aside(taken: Taken, conclusion: Conclusion, waiting: Waiting, back_at: int) -> Aside:
    """What the index tells of a waiting event."""
    identity, failure = taken.identity, waiting.failure
    return Aside(
        identity.source, identity.id, identity.type, waiting.kind, "stale" if conclusion.task_id else "missing",
        identity.project, identity.external_id, failure.reason, failure.detail, taken.first_seen, back_at, failure.field,
        taken.key.project_id if taken.key else None, taken.travel.waited_s,
    )  # fmt: skip


def _failure(conclusion: Conclusion) -> Failure | None:
    return conclusion.outcome.failure if isinstance(conclusion.outcome, Waiting | Dead) else None


def _published(taken: Taken) -> float:
    """When the event was published, by its AMQP timestamp; else when it was first seen. Seconds since 1970."""
    match taken.delivery.message.properties.get("timestamp"):
        case datetime() as published:
            return published.timestamp()
        case int() | float() as published:
            return published
        case _:
            return taken.first_seen / 1_000_000
