"""When the next request may start: not while Ditio has asked for quiet, and no faster than the budget."""

from __future__ import annotations

from worker.api.patience import Patience
from worker.core.errors import Outage
from worker.ports import Clock

LONGEST_S = 60.0
"""A pause longer than this gives events back instead of holding them."""

LOOK_S = 1.0
"""Who waits for the budget looks so often whether it has changed."""

MOMENT_S = 1e-6
"""Less than this is not waited for: on a clock of floats it might never pass."""


class Gate:
    """One for all requests. `per_s` is the budget in requests per second (None: no limit).

    Starts are counted, not timed: each request has a number, and so many numbers come up per second. A change of the budget therefore
    holds at once, also for those that wait.
    """

    def __init__(self, clock: Clock, patience: Patience, per_s: float | None = None) -> None:
        self._clock = clock
        self._patience = patience
        self._per_s = per_s
        self._since = clock.monotonic()
        self._come_up = 0.0
        self._next = 0.0
        self._quiet_until = 0.0

    async def passed(self) -> None:
        """Returns when a request may start. Raises Outage when that is too far off, Abandoned."""
        await self._quiet_over()
        if self._per_s is None:
            return
        number = max(self._next, self._now(self._per_s))
        self._next = number + 1
        while (wait := (number - self._now(self._per_s)) / self._per_s) > MOMENT_S:
            await self._patience.sleep(min(wait, LOOK_S))
        await self._quiet_over()  # Ditio may have asked for it meanwhile

    def pace(self, per_s: float) -> None:
        """The budget from now on, in place of the one before."""
        self._come_up = self._now(self._per_s or per_s)
        self._since = self._clock.monotonic()
        self._per_s = per_s

    def _now(self, per_s: float) -> float:
        """The number that comes up now."""
        return self._come_up + (self._clock.monotonic() - self._since) * per_s

    async def _quiet_over(self) -> None:
        while (wait := self._quiet_until - self._clock.monotonic()) > 0:
            if wait > LONGEST_S:
                raise Outage("circuit", f"Ditio asks for {wait:.0f} s without requests (429)")
            # A little apart, so that those who waited do not all start at once.
            await self._patience.sleep(wait * (1 + 0.1 * self._clock.chance()))

    def quiet(self, seconds: float) -> None:
        """No request starts for so long."""
        self._quiet_until = max(self._quiet_until, self._clock.monotonic() + seconds)
