"""Keeps events flowing: takes them while all is well, gives them back and probes while something is wrong, and drains at the end.

taking ──trouble──► channel closed, so that the broker delivers again ──► probing ──well──► taking
   └──────stop────► nothing new is taken ──► what was begun is finished, for so long ──► channel closed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from worker.core.backoff import full_jitter
from worker.core.errors import BrokerError, LedgerError, Outage, PauseCause, WorkerError
from worker.health import Condition, Health
from worker.holding import LET_GO_S, Holding
from worker.metrics import Metrics
from worker.ports import Clock, Delivery
from worker.process import Process

log = logging.getLogger("worker.flow")

PROBE_BASE_S = 1.0
PROBE_CAP_S = 30.0
BROKER_CAP_S = 10.0
"""The broker's absence must not outlast it by more."""

CONDITIONS: Mapping[PauseCause, Condition] = {"broker": "broker", "ledger": "ledger", "credentials": "credentials"}
"""Which condition of readiness a cause breaks; the others break `paused`."""


class Intake(Protocol):
    """Where deliveries come from."""

    async def start(self) -> None:
        """Begins to take messages. Raises BrokerError."""
        ...

    async def cancel(self) -> None:
        """Takes no more; what was taken can still be acknowledged."""
        ...

    async def give_back(self) -> None:
        """Closes the channel: the broker delivers again what was not acknowledged, in its order."""
        ...

    def pause(self) -> None:
        """Reads nothing more from the broker."""
        ...

    def resume(self) -> None:
        """Reads again."""
        ...


class Flow:
    """One worker's state. `probes` say for each cause whether it is over: they raise as long as it is not."""

    def __init__(
        self,
        intake: Intake,
        *,
        probes: Mapping[PauseCause, Callable[[], Awaitable[object]]],
        health: Health,
        metrics: Metrics,
        clock: Clock,
        drain_s: float,
        holding: Holding | None = None,
    ) -> None:
        self._intake = intake
        self._probes = probes
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._drain_s = drain_s
        self._trouble: asyncio.Queue[Exception] = asyncio.Queue()
        self._taken: set[asyncio.Task[None]] = set()
        self._holding = holding or Holding(intake, clock)
        self._failed_starts = 0
        self._renewing = False
        self.flowing = False

    def trouble(self, error: Exception) -> None:
        """Something is wrong that is no event's fault."""
        self._trouble.put_nowait(error)

    def take(self, process: Process, delivery: Delivery) -> None:
        """Starts one message on its way."""
        task = asyncio.ensure_future(process.take(delivery))
        self._taken.add(task)
        self._holding.take(delivery)

        def ended(task: asyncio.Task[None]) -> None:
            self._taken.discard(task)
            self._holding.release(delivery)

        task.add_done_callback(ended)

    async def run(self, process: Process, stop: asyncio.Event, trouble: Exception | None = None) -> None:
        """Keeps going until told to stop, then drains. `trouble` is what is known to be wrong at the start."""
        while not stop.is_set():
            if trouble is not None:
                await self._recover(process, trouble, stop)
            if not stop.is_set():
                trouble = await self._taking(process, stop)
        await self._drain(process)

    async def _taking(self, process: Process, stop: asyncio.Event) -> Exception | None:
        """Takes messages until there is trouble, which is returned, or it is told to stop."""
        while not self._trouble.empty():
            self._trouble.get_nowait()  # about what was given back before
        process.lanes.open()
        try:
            await self._intake.start()
        except WorkerError as error:
            self._failed_starts += 1
            self._renewing = False
            return error
        self._failed_starts = 0
        if not self._renewing:  # otherwise nothing was wrong, or somebody else has said so
            self._health.ok("broker")
            log.info("events are taken")
        self._renewing, self.flowing = False, True
        trouble = asyncio.ensure_future(self._trouble.get())
        stopped = asyncio.ensure_future(stop.wait())
        overdue = asyncio.ensure_future(self._holding.overdue())
        try:
            await asyncio.wait({trouble, stopped, overdue}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                return None
            if trouble.done():
                return trouble.result()
            await self._let_go(process)
            return None
        finally:
            self.flowing = False
            for each in (trouble, stopped, overdue):
                each.cancel()

    async def _let_go(self, process: Process) -> None:
        """Finishes what is quick to finish; the next start gives the rest back, and takes the queue anew."""
        if held := self._holding.held:
            log.warning("%d messages are held, the oldest for too long: they go back to the broker", held)
        await self._intake.cancel()
        process.lanes.abandon()
        await self._finish(min(self._drain_s, LET_GO_S))
        self._holding.given_back()
        self._renewing = True

    async def _recover(self, process: Process, trouble: Exception, stop: asyncio.Event) -> None:
        cause = _cause(trouble)
        condition = CONDITIONS.get(cause, "paused")
        log.warning("consumption pauses: %s", trouble, extra={"cause": cause})
        self._health.fail(condition, f"{cause}: {trouble}")
        self._metrics.paused(cause, on=True)
        if cause == "circuit":
            self._metrics.circuit("open")
        process.lanes.abandon()
        await self._give_back()
        self._holding.given_back()
        await self._finish(self._drain_s)
        await self._probe(cause, condition, stop)
        self._metrics.paused(cause, on=False)
        self._metrics.circuit("closed")
        if not stop.is_set() and cause != "broker":  # which is well only when it delivers again
            self._health.ok(condition)
            log.info("consumption goes on", extra={"cause": cause})

    async def _probe(self, cause: PauseCause, condition: Condition, stop: asyncio.Event) -> None:
        """Returns when the cause is over, or it is told to stop."""
        attempt = self._failed_starts
        cap = BROKER_CAP_S if cause == "broker" else PROBE_CAP_S
        while not stop.is_set():
            attempt += 1
            wait = full_jitter(attempt, base=PROBE_BASE_S, cap=cap, chance=self._clock.chance())
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({stopped}, timeout=wait)
            stopped.cancel()
            try:
                if not stop.is_set() and cause in self._probes:
                    await self._probes[cause]()
                return
            except WorkerError as error:
                log.info("still paused: %s", error, extra={"cause": cause})
                self._health.fail(condition, f"{cause}: {error}")

    async def _drain(self, process: Process) -> None:
        """Finishes what was begun, for as long as it may take; the rest goes back to the broker."""
        self._health.fail("stopping", "the worker was told to stop")
        try:
            await self._intake.cancel()
        except WorkerError as error:
            log.info("nothing to cancel: %s", error)
        process.lanes.abandon()
        await self._finish(self._drain_s)
        await self._give_back()
        for task in self._taken:
            task.cancel()
        if self._taken:
            log.warning("%d events go back to the broker unfinished", len(self._taken))
            await asyncio.wait(self._taken)

    async def _finish(self, within_s: float) -> None:
        if self._taken:
            await asyncio.wait(set(self._taken), timeout=within_s)

    async def _give_back(self) -> None:
        try:
            await self._intake.give_back()
        except WorkerError as error:  # the connection is gone, and so is the channel
            log.info("nothing to give back: %s", error)


def _cause(trouble: Exception) -> PauseCause:
    match trouble:
        case Outage():
            return trouble.cause
        case LedgerError():
            return "ledger"
        case BrokerError():
            return "broker"
        case _:
            return "environment"
