"""How much this Ditio bears: so many requests a second, above which it answers 429; so many at once, the others queue."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping

from worker.sandbox.message import Refusal
from worker.sandbox.options import Options

WINDOW_S = 1.0


class Capacity:
    """Counts what was taken. `clock` gives seconds."""

    def __init__(self, options: Callable[[], Options], clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self._taken: deque[float] = deque()
        self._free_at: list[float] = []

    def taken(self) -> float:
        """Takes a request, and gives the seconds until its answer. Raises Refusal (429) when there were too many in the last second."""
        options, now = self._options(), self._clock()
        if options.capacity_per_s:
            self._count(now, options.capacity_per_s)
        if options.capacity_concurrent < 1:
            return options.latency_s
        free_at = now
        while len(self._free_at) >= int(options.capacity_concurrent):
            free_at = heapq.heappop(self._free_at)
        done_at = max(now, free_at) + options.latency_s
        heapq.heappush(self._free_at, done_at)
        return done_at - now

    def retry_after(self) -> Mapping[str, str]:
        """The header of a 429, by the options."""
        seconds = self._options().retry_after_s
        return {"Retry-After": f"{seconds:.0f}"} if seconds else {}

    def _count(self, now: float, capacity: float) -> None:
        while self._taken and self._taken[0] <= now - WINDOW_S:
            self._taken.popleft()
        if len(self._taken) >= capacity:
            raise Refusal(429, "For mange forespørsler")
        self._taken.append(now)
