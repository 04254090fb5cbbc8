"""What many wait for at once is asked for once, and all of them get its end: also when it fails, so that an outage is not a storm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from worker.core.errors import Outage


class SingleFlight:
    """One asking at a time. No task of its own: whoever came first asks, and when it is cancelled the next one does."""

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._ended = 0
        self._failure: Outage | None = None

    async def __call__(self) -> None:
        """Asks, or shares what has ended since the call began. Raises what asking raises; an Outage is shared."""
        ended = self._ended
        async with self._asking:
            if self._ended == ended:
                await self._fly()
            elif self._failure is not None:
                raise Outage(self._failure.cause, self._failure.detail)

    async def _fly(self) -> None:
        self._failure = None
        try:
            await self._ask()
        except Outage as failure:
            self._failure = failure
            self._ended += 1
            raise
        self._ended += 1
