"""One worker's share of DITIO_MAX_REQUESTS_PER_S: all that live on a ledger have equal ones.

join    ask how many live ── others do ──► wait until they have made room ──► the first request
keep    ask again every second: more of them, a smaller share; fewer, a larger one
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from worker.core.errors import LedgerError
from worker.ports import Clock

ASK_S = 1.0
ROOM_S = 2 * ASK_S
"""By then every other worker has asked again, unless its ledger is slow to answer."""


class Living(Protocol):
    """A ledger that knows who lives."""

    async def living(self) -> int:
        """How many workers use it now, this one among them. Raises LedgerError."""
        ...


class Budget:
    """`per_s` is the budget of all together, and `pace` is told what of it is this worker's."""

    def __init__(self, per_s: float, ledger: Living, clock: Clock, pace: Callable[[float], None]) -> None:
        self._per_s = per_s
        self._ledger = ledger
        self._clock = clock
        self._pace = pace

    async def join(self) -> None:
        """Returns when this worker may make requests without the budget being exceeded."""
        while (living := await self._share()) is None:
            await self._clock.sleep(ASK_S)
        if living > 1:
            await self._clock.sleep(ROOM_S)

    async def keep(self) -> None:
        """Follows the others as they come and go. While the ledger does not answer, the share stays as it is."""
        while True:
            await self._clock.sleep(ASK_S)
            await self._share()

    async def _share(self) -> int | None:
        try:
            living = await self._ledger.living()
        except LedgerError:
            return None
        self._pace(self._per_s / living)
        return living
