"""Until when requests may wait, and last.

Once the worker is told to stop, or gives events back, nothing waits any more and no attempt begins that could outlast the time
that is left: whoever would have waited gets Abandoned, and the event stays with the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from worker.core.errors import Abandoned
from worker.ports import Clock

Result = TypeVar("Result")


class Patience:
    """One for all requests. There is no end to it until `end`, and again after `renew`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline = float("inf")
        self._waiting: set[asyncio.Future[Any]] = set()

    @property
    def ended(self) -> bool:
        """Whether nothing may wait."""
        return self._deadline < float("inf")

    def end(self, within_s: float) -> None:
        """Nothing waits from now on, and what begins must be over `within_s` seconds from now."""
        self._deadline = self._clock.monotonic() + within_s
        for each in self._waiting:
            each.cancel()

    def renew(self) -> None:
        """Requests may wait and last again."""
        self._deadline = float("inf")

    def begin(self, lasts_s: float) -> None:
        """Raises Abandoned when what begins now, and may last so many seconds, could outlast what is left."""
        if self._clock.monotonic() + lasts_s > self._deadline:
            raise Abandoned("the worker stops: no request begins that could outlast it")

    async def sleep(self, seconds: float) -> None:
        """Sleeps. Raises Abandoned when patience ends before."""
        if seconds > 0:
            await self.until(self._clock.sleep(seconds))

    async def until(self, awaited: Awaitable[Result]) -> Result:
        """What is awaited. Raises Abandoned when patience ends before, and cancels it."""
        waiting = asyncio.ensure_future(awaited)
        if self.ended:
            waiting.cancel()
        self._waiting.add(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Abandoned("the worker stops: no request waits for it") from None
        finally:
            self._waiting.discard(waiting)
