"""What the worker holds of the broker's messages: bounded in bytes, and in time.

bytes over the upper mark ──► the broker is not read ──► bytes under the lower mark ──► read again
oldest held for too long  ──► all go back, and the broker delivers them again, before it takes the worker for stuck
nothing came for a while  ──► the queue is taken anew
"""

from __future__ import annotations

from typing import Protocol

from worker.ports import Clock, Delivery

MOST_BYTES = 64 * 1_048_576
AGAIN_BYTES = 48 * 1_048_576
"""Reading begins again only here, so that it does not stop and begin with each message."""

LONGEST_S = 240.0
LET_GO_S = 25.0
"""Together with what finishing takes, nothing is held longer than 5 minutes."""

QUIET_S = 20.0
"""After so long without a message the queue is taken anew, for a consumer can be cut off unseen: when a queue was deleted and made
again in a moment, RabbitMQ 3.10 says that it delivers, and nothing arrives. On a queue that is merely empty this changes nothing.
"""


class Source(Protocol):
    """Where messages come from."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Holding:
    """Counts what is held. `bytes` are those of the bodies."""

    def __init__(
        self,
        source: Source,
        clock: Clock,
        *,
        most: int = MOST_BYTES,
        again: int = AGAIN_BYTES,
        longest_s: float = LONGEST_S,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._source = source
        self._clock = clock
        self._most = most
        self._again = again
        self._longest_s = longest_s
        self._quiet_s = quiet_s
        self._last = clock.monotonic()
        self._since: dict[Delivery, float] = {}
        self._full = False
        self.bytes = 0

    def take(self, delivery: Delivery) -> None:
        """A message is held from now on."""
        self._since[delivery] = self._last = self._clock.monotonic()
        self.bytes += len(delivery.message.body)
        if self.bytes > self._most:
            self._full = True
            self._source.pause()

    def release(self, delivery: Delivery) -> None:
        """A message takes no room any more."""
        self._since.pop(delivery, None)
        self.bytes -= len(delivery.message.body)
        if self._full and self.bytes <= self._again:
            self._full = False
            self._source.resume()

    @property
    def held(self) -> int:
        """How many messages nobody has given back yet."""
        return len(self._since)

    def given_back(self) -> None:
        """All that is held is the broker's again; what is still worked on takes room, but makes nobody wait."""
        self._since.clear()
        self._last = self._clock.monotonic()

    async def overdue(self) -> None:
        """Returns when a message is held for too long, or when none is and none has come for a while."""
        while (rest := self._due_at() - self._clock.monotonic()) > 0:
            await self._clock.sleep(rest)

    def _due_at(self) -> float:
        oldest = next(iter(self._since.values()), None)
        return self._last + self._quiet_s if oldest is None else oldest + self._longest_s
