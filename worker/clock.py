"""The real time; see worker.ports.Clock."""

from __future__ import annotations

import asyncio
import random
import time


class WallClock:
    """Time, sleep and chance as they are."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of a clock that only goes forward."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleeps."""
        await asyncio.sleep(seconds)

    def chance(self) -> float:
        """A random number in [0, 1)."""
        return random.random()  # noqa: S311  spreads retries; nothing secret depends on it
