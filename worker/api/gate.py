"""When the next request may start: not while Ditio has asked for quiet, and no faster than the budget."""

from __future__ import annotations

from worker.api.patience import Patience
from worker.core.errors import Outage
from worker.ports import Clock

LONGEST_S = 60.0
"""A pause longer than this gives events back instead of holding them."""


class Gate:
    """One for all requests. `per_s` is the budget in requests per second (None: no limit)."""

    def __init__(self, clock: Clock, patience: Patience, per_s: float | None = None) -> None:
        self._clock = clock
        self._patience = patience
        self._gap = 1 / per_s if per_s else 0.0
        self._next = 0.0
        self._quiet_until = 0.0

    async def passed(self) -> None:
        """Returns when a request may start. Raises Outage when that is too far off, Abandoned."""
        await self._quiet_over()
        if not self._gap:
            return
        start = max(self._next, self._clock.monotonic())
        self._next = start + self._gap
        await self._patience.sleep(start - self._clock.monotonic())
        await self._quiet_over()  # Ditio may have asked for it meanwhile

    async def _quiet_over(self) -> None:
        while (wait := self._quiet_until - self._clock.monotonic()) > 0:
            if wait > LONGEST_S:
                raise Outage("circuit", f"Ditio asks for {wait:.0f} s without requests (429)")
            # A little apart, so that those who waited do not all start at once.
            await self._patience.sleep(wait * (1 + 0.1 * self._clock.chance()))

    def quiet(self, seconds: float) -> None:
        """No request starts for so long."""
        self._quiet_until = max(self._quiet_until, self._clock.monotonic() + seconds)
