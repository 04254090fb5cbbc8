"""What the worker shows of each event: counters, gauges and one log line when it is settled."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Protocol, get_args

from worker.core.outcome import Applied, Dead, Failure, OutcomeName, Reason, Waiting, WaitKind, name
from worker.letters import Index, Letters
from worker.ports import Delivery
from worker.process import Taken
from worker.reconcile import Conclusion
from worker.unsettled import State, Unsettled

log = logging.getLogger("worker.events")


class Meter(Protocol):
    """The part of the metrics that events touch; see worker.metrics.Metrics."""

    def event_received(self, source: str | None, at: float) -> None: ...
    def event_settled(self, source: str | None, event_type: str, outcome: OutcomeName, seconds: float) -> None: ...
    def event_applied(self, event_type: str, delay: float) -> None: ...
    def letter_buried(self, reason: Reason) -> None: ...
    def waiting_now(self, kind: WaitKind, events: int) -> None: ...
    def work_orders_unsettled(self, state: State, work_orders: int) -> None: ...
    def stamp_tie(self, source: str | None) -> None: ...
    def unknown_fields(self, source: str | None, fields: int) -> None: ...
    def coalesced(self, events: int) -> None: ...
    def held(self, size: int) -> None: ...


class Watch:
    """Is told of events by the process, and tells the metrics and the log."""

    def __init__(self, meter: Meter, index: Index) -> None:
        self._meter = meter
        self._held = 0
        self._unsettled = Unsettled()
        self.letters = Letters(index)

    def received(self, delivery: Delivery) -> None:
        """A message was taken from the broker."""
        self._hold(len(delivery.message.body))

    def released(self, delivery: Delivery) -> None:
        """A message is no longer held: it was settled, or given back."""
        self._hold(-len(delivery.message.body))

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
        self._count_unsettled(taken, conclusion)
        log.info("settled", extra=described(taken, conclusion, seconds))

    def _hold(self, size: int) -> None:
        self._held += size
        self._meter.held(self._held)

    def _count_unsettled(self, taken: Taken, conclusion: Conclusion) -> None:
        event = taken.identity.source, taken.identity.id
        if isinstance(conclusion.outcome, Waiting):
            work_order = taken.key or (taken.identity.project, taken.identity.external_id)
            self._unsettled.waits(event, conclusion.outcome.kind, "stale" if conclusion.task_id else "missing", work_order)
        else:
            self._unsettled.settled(event)
        for kind in get_args(WaitKind):
            self._meter.waiting_now(kind, self._unsettled.kinds.get(kind, 0))
        for state in get_args(State):
            self._meter.work_orders_unsettled(state, self._unsettled.states.get(state, 0))


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
