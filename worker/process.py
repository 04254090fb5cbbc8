"""One event from bytes to outcome; worker.settle does to the broker what follows from it: durable first, acknowledged last.

    take ─► its turn ─► decode ─► first seen ─► project ─► lane of the work order ─► reconcile ─► settle
                           │                      │                                                 │
                         dead                  waiting                       ack ◄── (letter or wait, confirmed) ◄─┘

Whatever goes wrong before the acknowledgement leaves the message with the broker, which delivers it again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from worker.caution import Caution
from worker.core.caution import ENDS, Step
from worker.core.decode import decode
from worker.core.errors import (
    Absent,
    Ambiguous,
    ApiError,
    BadEvent,
    BrokerError,
    LedgerError,
    Outage,
    Refused,
    TooFarAhead,
    UnsupportedType,
)
from worker.core.event import Event, ProjectRef
from worker.core.identity import Identity, identity, labelled, peek
from worker.core.letter import travel
from worker.core.message import Message
from worker.core.outcome import (
    UNRESOLVED,
    Dead,
    Failure,
    Ignored,
    Outcome,
    Reason,
    Unchanged,
    Waiting,
)
from worker.handling import Handling, Taken
from worker.lanes import Abandoned, Lanes
from worker.ports import Clock, Delivery, Ditio, Key, Ledger, Publisher, Resolver
from worker.reconcile import Conclusion, Reconciler
from worker.round import Job
from worker.settle import Settlement, Settling

log = logging.getLogger("worker.events")


class Observer(Settling, Protocol):
    """Is told of what happens to events."""

    def received(self, delivery: Delivery) -> None: ...

    def settled(self, taken: Taken, conclusion: Conclusion, seconds: float) -> None: ...

    def released(self, delivery: Delivery) -> None: ...


class Due(msgspec.Struct, frozen=True):
    """What must be done for a work order without an event of its own."""


class Process:
    """Takes deliveries, each in a task of its own. `trouble` is told of what is no event's fault: nothing was acknowledged.

    `sure_of_clock` is awaited before an event is condemned for its time, and raises Outage when the clock of this machine may be why.
    `caution` says whose turn it is; it must have the same ledger.
    """

    def __init__(
        self,
        handling: Handling,
        *,
        ledger: Ledger,
        ditio: Ditio,
        resolver: Resolver,
        reconciler: Reconciler,
        publisher: Publisher,
        clock: Clock,
        observer: Observer,
        trouble: Callable[[Exception], None],
        sure_of_clock: Callable[[], Awaitable[None]],
        caution: Caution | None = None,
    ) -> None:
        self._sure_of_clock = sure_of_clock
        self._handling = handling
        self._ledger = ledger
        self._ditio = ditio
        self._resolver = resolver
        self._reconciler = reconciler
        self._clock = clock
        self._observer = observer
        self._trouble = trouble
        self._caution = caution or Caution(ledger)
        self._settlement = Settlement(handling, publisher=publisher, clock=clock, observer=observer, caution=self._caution)
        self.lanes: Lanes[Key, Taken | Due, Conclusion] = Lanes(self._alone, limit=handling.max_in_flight)

    async def take(self, delivery: Delivery) -> None:
        """Brings one message to its end. Raises nothing: trouble is reported, and the message stays unacknowledged."""
        started = self._clock.monotonic()
        self._observer.received(delivery)
        try:
            async with self._turn(delivery.message) as step:
                known = travel(delivery.message)
                seen = min(delivery.received_at, known.first_seen or delivery.received_at)
                taken = Taken(delivery, known, Identity(), seen)
                conclusion = await self._settlement.settle(taken, await self._concluded(taken, step))
                self._observer.settled(taken, conclusion, self._clock.monotonic() - started)
        except Abandoned:
            pass
        except (Outage, LedgerError, BrokerError) as error:
            self._trouble(error)
        except Exception as error:  # a mistake of the worker's own must not take an event with it
            log.exception("a message could not be settled, and stays with the broker")
            self._trouble(error)
        finally:
            self._observer.released(delivery)

    async def do_due(self, key: Key) -> None:
        """Does what is due for a work order, in its lane. Raises nothing: trouble is reported."""
        try:
            async with self._caution.due():
                await self.lanes.submit(key, Due())
        except Abandoned:
            pass
        except Exception as error:  # all of it is tried again later
            self._trouble(error)

    @asynccontextmanager
    async def _turn(self, message: Message) -> AsyncIterator[Step]:
        """The message's turn, and what to do with it. Raises Abandoned for what was given back while it waited, Outage, LedgerError."""
        abandoned = self.lanes.abandoned
        async with self._caution.turn(message) as alone:
            if self.lanes.abandoned != abandoned:
                raise Abandoned
            async with self._caution.noted(message, alone=alone) as step:
                yield step

    # --- decode, first seen, project

    async def _concluded(self, taken: Taken, step: Step) -> Conclusion:
        """How the event ends. Raises Abandoned, Outage, LedgerError, BrokerError."""
        if step in ENDS:
            taken.identity = labelled(taken.delivery.message)
            return Conclusion(ENDS[step])
        try:
            return await self._conclude(taken)
        except (Abandoned, Outage, LedgerError, BrokerError):
            raise
        except Exception as error:  # the worker breaks on this event: others must not wait for it
            log.exception("the worker itself failed on an event", extra={"event_id": taken.identity.id})
            detail = f"the worker itself failed on this event ({type(error).__name__}); its log says where"
            return Conclusion(Waiting("failing", Failure("failing", detail)))

    async def _conclude(self, taken: Taken) -> Conclusion:
        try:
            event = self._decoded(taken)
        except BadEvent as error:
            if isinstance(error, TooFarAhead):
                await self._sure_of_clock()
            taken.identity = peek(taken.delivery.message)
            reason: Reason = "unsupported-type" if isinstance(error, UnsupportedType) else "invalid-event"
            return Conclusion(Dead(Failure(reason, error.detail, error.field)))
        if taken.source is None:
            return Conclusion(Dead(Failure("wrong-source", f'the source "{event.source}" is not in WORKER_SOURCES', "source")))
        if event.project.kind == "number" and not self._handling.handles(event.project.value):
            return Conclusion(Ignored())
        taken.first_seen = await self._ledger.first_seen(event.source, event.id, taken.first_seen)
        try:
            project = await self._resolver.project(event.project, fresh=self._last_chance(taken))
        except (Absent, Ambiguous, ApiError) as error:
            return Conclusion(await self._without_project(error))
        if project.number is not None and not self._handling.handles(project.number):
            return Conclusion(Ignored())
        taken.project, taken.key = project, Key(project.id, event.external_id)
        return await self.lanes.submit(taken.key, taken)

    def _decoded(self, taken: Taken) -> Event:
        rules = msgspec.structs.replace(self._handling.rules, now=self._clock.now())
        taken.event = event = decode(taken.delivery.message, rules)
        taken.identity = identity(event)
        taken.source = self._handling.source(event.source)
        return event

    async def _without_project(self, error: Absent | Ambiguous | ApiError) -> Outcome:
        """How an event ends whose project is not known. Raises Outage."""
        match error:
            case Absent():
                return Waiting("project", Failure(UNRESOLVED["project"], error.detail, "data.project"))
            case Ambiguous():
                return Dead(Failure("ambiguous", error.detail, "data.project"))
            case Refused():
                return Dead(Failure("rejected", error.detail, "data.project", error.status, error.response))
            case _:
                await self._ditio.control()
                return Waiting("failing", Failure("failing", error.detail, "data.project", error.status, error.response))

    def _last_chance(self, taken: Taken) -> bool:
        return self._handling.next_wait(taken.travel.waited_s) is None

    # --- the lane

    async def _alone(self, key: Key, items: Sequence[Taken | Due]) -> Sequence[Conclusion]:
        """The same, while no other worker does anything for this work order."""
        async with self._ledger.hold(key, self._aside):
            return await self._work(key, items)

    @asynccontextmanager
    async def _aside(self) -> AsyncIterator[None]:
        """While another worker has the work order: others take this one's place, and an end of this worker is no message's fault."""
        with self.lanes.aside():
            async with self._caution.waiting():
                yield

    async def _work(self, key: Key, items: Sequence[Taken | Due]) -> Sequence[Conclusion]:
        """Reconciles a work order with the events that have gathered in its lane."""
        events = [item for item in items if isinstance(item, Taken)]
        if not events:
            await self._do_due(key)
            return [Conclusion(Unchanged()) for _ in items]
        project = next(taken.project for taken in reversed(events) if taken.project is not None)
        conclusions = iter(await self._reconciler.reconcile(project, key, [self._job(taken) for taken in events]))
        return [next(conclusions) if isinstance(item, Taken) else Conclusion(Unchanged()) for item in items]

    async def _do_due(self, key: Key) -> None:
        try:
            project = await self._resolver.project(ProjectRef("id", key.project_id))
        except (Absent, Ambiguous, ApiError) as error:
            log.warning("what is due for a work order must wait: %s", error, extra={"external_id": key.external_id})
            await self._reconciler.postpone(key)
        else:
            await self._reconciler.reconcile(project, key, ())

    def _job(self, taken: Taken) -> Job:
        event = taken.event
        if event is None:
            raise TypeError("only decoded events enter a lane")
        stamp = event.stamp(taken.first_seen, repair=taken.travel.repair, order_by=self._handling.rules.order_by)
        return Job(event, stamp, taken.delivery.message.redelivered, self._last_chance(taken), taken.travel.rejected)
