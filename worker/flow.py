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
from worker.metrics import Metrics
from worker.ports import Clock, Delivery
from worker.process import Process

log = logging.getLogger("worker.flow")

STILL_PAUSED_S = 60.0
"""How often the log says that a pause lasts."""

PROBE_BASE_S = 1.0
PROBE_CAP_S = 30.0

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


class Patience(Protocol):
    """How long requests to the API may wait, and last; see worker.api.patience."""

    def end(self, within_s: float) -> None: ...
    def renew(self) -> None: ...


class Seldom:
    """Says of something that goes on and on whether it is time to tell of it again: at most every so many seconds, the first at once."""

    def __init__(self, every_s: float, clock: Clock) -> None:
        self._every_s = every_s
        self._clock = clock
        self._next = float("-inf")

    def due(self) -> bool:
        """Whether it is; then it is told."""
        if self._clock.monotonic() < self._next:
            return False
        self._next = self._clock.monotonic() + self._every_s
        return True


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
        patience: Patience,
    ) -> None:
        self._intake = intake
        self._probes = probes
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._drain_s = drain_s
        self._patience = patience
        self._trouble: asyncio.Queue[Exception] = asyncio.Queue()
        self._taken: set[asyncio.Task[None]] = set()
        self.flowing = False

    def trouble(self, error: Exception) -> None:
        """Something is wrong that is no event's fault."""
        self._trouble.put_nowait(error)

    def take(self, process: Process, delivery: Delivery) -> None:
        """Starts one message on its way."""
        task = asyncio.ensure_future(process.take(delivery))
        self._taken.add(task)
        task.add_done_callback(self._taken.discard)

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
            return error
        self._health.ok("broker")
        self.flowing = True
        trouble = asyncio.ensure_future(self._trouble.get())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({trouble, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return trouble.result() if trouble.done() and not stop.is_set() else None
        finally:
            self.flowing = False
            trouble.cancel()
            stopped.cancel()

    async def _recover(self, process: Process, trouble: Exception, stop: asyncio.Event) -> None:
        cause = _cause(trouble)
        condition = CONDITIONS.get(cause, "paused")
        log.warning("consumption pauses: %s", trouble, extra={"cause": cause})
        self._health.fail(condition, f"{cause}: {trouble}")
        self._metrics.paused(cause, on=True)
        if cause == "circuit":
            self._metrics.circuit("open")
        process.lanes.abandon()
        self._patience.end(self._drain_s)
        await self._give_back()
        await self._finish(self._drain_s)
        if not stop.is_set():
            self._patience.renew()
        await self._probe(cause, condition, stop)
        self._metrics.paused(cause, on=False)
        self._metrics.circuit("closed")
        if not stop.is_set():
            self._health.ok(condition)
            log.info("consumption goes on", extra={"cause": cause})

    async def _probe(self, cause: PauseCause, condition: Condition, stop: asyncio.Event) -> None:
        """Returns when the cause is over, or it is told to stop."""
        attempt, telling = 0, Seldom(STILL_PAUSED_S, self._clock)
        telling.due()  # that it pauses was said just now
        while not stop.is_set():
            attempt += 1
            wait = full_jitter(attempt, base=PROBE_BASE_S, cap=PROBE_CAP_S, chance=self._clock.chance())
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({stopped}, timeout=wait)
            stopped.cancel()
            try:
                if not stop.is_set() and cause in self._probes:
                    await self._probes[cause]()
                return
            except WorkerError as error:
                if telling.due():
                    log.warning("still paused: %s", error, extra={"cause": cause})
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
