"""Keeps events flowing: takes them while all is well, gives them back and probes while something is wrong, and drains at the end.

The states and what leads from one to the next are the table of worker.core.lifecycle; here is what is done in each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

from worker.causes import Causes, Probe
from worker.core.errors import PauseCause, WorkerError
from worker.core.lifecycle import TRANSITIONS, Phase, Turn
from worker.health import Health
from worker.holding import LET_GO_S, Holding
from worker.metrics import Metrics
from worker.ports import Clock, Delivery
from worker.process import Process
from worker.stopping import unless

log = logging.getLogger("worker.flow")

Stage: TypeAlias = Callable[[Process, asyncio.Event], Awaitable[Turn]]


class Intake(Protocol):
    """Where deliveries come from."""

    async def start(self, most: int | None = None) -> None:
        """Begins to take messages, and to hold `most` at once (None: as many as are set). Raises WorkerError."""
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


class Patience(Protocol):
    """How long requests to the API may wait, and last; see worker.api.patience."""

    def end(self, within_s: float) -> None: ...
    def renew(self) -> None: ...


class Flow:
    """One worker's state.

    `probes` say for each cause whether it is over: they raise as long as it is not. `half_open` tells whether the circuit lets one event
    at a time through; `patience` says how long requests may wait, and last.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        probes: Mapping[PauseCause, Probe],
        health: Health,
        metrics: Metrics,
        clock: Clock,
        drain_s: float,
        patience: Patience,
        half_open: Callable[[], bool] = lambda: False,
        holding: Holding | None = None,
    ) -> None:
        self._intake = intake
        self._health = health
        self._clock = clock
        self._drain_s = drain_s
        self._patience = patience
        self._holding = holding or Holding(intake, clock)
        self._changed = asyncio.Event()
        self._causes = Causes(probes, half_open=half_open, health=health, metrics=metrics, clock=clock, changed=self._changed.set)
        self._taken: set[asyncio.Task[None]] = set()
        self._stages: Mapping[Phase, Stage] = {
            "starting": self._start,
            "taking": self._take_all,
            "half-open": self._take_one_by_one,
            "paused": self._pause,
            "draining": self._drain,
        }
        self.phase: Phase = "starting"
        self.flowing = False

    def trouble(self, error: Exception) -> None:
        """Something is wrong that is no event's fault: consumption pauses until its probe says that it is over."""
        if self.phase not in ("draining", "ended"):
            self._causes.begin(error)

    def circuit_closed(self) -> None:
        """The event that was let through has shown that Ditio takes writes again."""
        self._causes.tried()
        self._changed.set()

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
        if trouble is not None:
            self.trouble(trouble)
        while self.phase != "ended":
            turn = await self._stages[self.phase](process, stop)
            self.phase = TRANSITIONS[self.phase][turn]
            log.debug("%s: %s", turn, self.phase)

    # --- one for each state

    async def _start(self, _: Process, stop: asyncio.Event) -> Turn:
        if stop.is_set():
            return "stop"
        return "trouble" if self._causes.forbid else "well"

    async def _take_all(self, process: Process, stop: asyncio.Event) -> Turn:
        turn = await self._begin(process, stop, None)
        self.flowing = turn is None
        overdue = asyncio.ensure_future(self._holding.overdue())
        overdue.add_done_callback(lambda _: self._changed.set())
        while turn is None:
            await self._change(stop)
            turn = self._disturbed(stop) or ("held too long" if overdue.done() else None)
        overdue.cancel()
        self.flowing = False
        if turn == "held too long":
            await self._let_go(process, stop)
        return turn

    async def _take_one_by_one(self, process: Process, stop: asyncio.Event) -> Turn:
        """The next event is another one: what was refused waits, and what was not is settled."""
        turn = await self._begin(process, stop, 1)
        while turn is None:
            if not self._causes.standing:
                await self._finish(stop, self._drain_s)  # what has shown it is acknowledged before the channel is closed
                return "write succeeds"
            await self._change(stop)
            turn = self._disturbed(stop)
        return turn

    async def _pause(self, process: Process, stop: asyncio.Event) -> Turn:
        """Gives back what is held; what is under way may end before that, so that it need not be done again."""
        await self._cease(process)
        await self._finish(stop, self._drain_s)
        if not stop.is_set():
            await self._give_back()
        if not stop.is_set():
            self._patience.renew()
        while not stop.is_set():
            if not self._causes.forbid:
                return "one at a time" if self._causes.standing else "well"
            await self._change(stop)
        return "stop"

    async def _drain(self, process: Process, _: asyncio.Event) -> Turn:
        """Finishes what was begun, for as long as it may take; the rest goes back to the broker."""
        deadline = self._clock.monotonic() + self._drain_s
        self._health.fail("stopping", "the worker was told to stop")
        self._causes.close()
        await self._cease(process)
        await self._finish(None, deadline - self._clock.monotonic())
        await self._give_back()
        for task in self._taken:
            task.cancel()
        if self._taken:
            log.warning("%d events go back to the broker unfinished", len(self._taken))
            await asyncio.wait(self._taken)
        return "drained"

    # --- what they share

    async def _begin(self, process: Process, stop: asyncio.Event, most: int | None) -> Turn | None:
        """Starts to take; None when it does."""
        if (turn := self._disturbed(stop)) is not None:
            return turn
        process.lanes.open()
        try:
            await unless(stop, self._intake.start(most))
        except WorkerError as error:
            self.trouble(error)
        else:
            if not stop.is_set():
                self._health.ok("broker")
                log.info("events are taken")
        return self._disturbed(stop)

    def _disturbed(self, stop: asyncio.Event) -> Turn | None:
        if stop.is_set():
            return "stop"
        return "trouble" if self._causes.forbid else None

    async def _change(self, stop: asyncio.Event) -> None:
        """Returns when something may have changed."""
        await unless(stop, self._changed.wait())
        self._changed.clear()

    async def _let_go(self, process: Process, stop: asyncio.Event) -> None:
        """Finishes what is quick to finish; the next start gives the rest back, and takes the queue anew."""
        if held := self._holding.held:
            log.warning("%d messages are held, the oldest for too long: they go back to the broker", held)
        await self._cease(process)
        await self._finish(stop, min(self._drain_s, LET_GO_S))
        await self._give_back()
        if not stop.is_set():
            self._patience.renew()

    async def _cease(self, process: Process) -> None:
        try:
            await self._intake.cancel()
        except WorkerError as error:
            log.info("nothing to cancel: %s", error)
        process.lanes.abandon()
        self._patience.end(self._drain_s)

    async def _finish(self, stop: asyncio.Event | None, within_s: float) -> None:
        """Returns when what was begun is finished, or the time is over, or it is told to stop."""
        if self._taken:
            finished = asyncio.wait(set(self._taken), timeout=max(0.0, within_s))
            await (finished if stop is None else unless(stop, finished))

    async def _give_back(self) -> None:
        try:
            await self._intake.give_back()
        except WorkerError as error:  # the connection is gone, and so is the channel
            log.info("nothing to give back: %s", error)
        self._holding.given_back()
