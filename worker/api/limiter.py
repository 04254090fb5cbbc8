"""Turns: so many requests at once as the API bears (worker.core.limit), first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from worker.api.patience import Patience
from worker.api.wire import Received, TimedOut
from worker.core import limit as deciding
from worker.core.limit import Limit, Window
from worker.ports import Clock

SERVER_ERROR = 500
LONGEST_REST_S = 2.0
"""However low the limit, a request is made so soon after another: without answers it could not rise again."""


class Limiter:
    """One for all requests that wait for their turn. `limit` is the limit as it is now."""

    def __init__(self, limit: Limit, clock: Clock, patience: Patience) -> None:
        self.limit = limit
        self._clock = clock
        self._patience = patience
        self._window = Window()
        self._turns = 0
        self._carried = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._rest_until = float("-inf")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a turn, which lasts as long as the block. Raises Abandoned."""
        await self._taken()
        try:
            await self._patience.sleep(self._rest_until - self._clock.monotonic())
            yield
        finally:
            self._turns -= 1
            self._admit()

    async def carry(self, operation: str, exchange: Awaitable[Received]) -> Received:
        """Awaits an answer, and learns from it. Whoever calls has a turn, and tells of a 429."""
        began = self._clock.monotonic()
        self._carried += 1
        in_flight = self._carried
        try:
            received = await exchange
        except TimedOut:
            self._decide(deciding.unanswered(self.limit, began, self._clock.monotonic()))
            raise
        finally:
            self._carried -= 1
        seconds = self._clock.monotonic() - began
        if self.limit.rest:
            self._rest_until = began + seconds + min(LONGEST_REST_S, seconds * self.limit.rest)
        if received.status < SERVER_ERROR and received.status != 429:
            self._window.add(operation, seconds, in_flight)
            if self._window.samples >= self.limit.enough:
                self._decide(deciding.answered(self.limit, self._window, began + seconds))
        return received

    def throttled(self, began: float) -> bool:
        """A request that began at `began` (seconds) was answered 429. Whether that is news: not for those sent before the last cut."""
        decided = deciding.throttled(self.limit, began, self._clock.monotonic())
        news = decided is not self.limit
        self._decide(decided)
        return news

    async def _taken(self) -> None:
        if self._turns < self.limit.allowed and not self._waiting:
            self._turns += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await self._patience.until(turn)
        except BaseException:
            if turn.done() and not turn.cancelled():  # it came at the moment when nobody wanted it any more
                self._turns -= 1
            turn.cancel()
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self._turns < self.limit.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._turns += 1

    def _decide(self, decided: Limit) -> None:
        self._window = Window()
        self.limit = decided
        self._admit()
