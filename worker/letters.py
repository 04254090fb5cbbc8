"""The gauges of the dead letters: an index in the ledger, written with each letter and each removal, made anew where it is not the queue.

a letter is written ─► wrote ─┐
                              ├─► keep: into the ledger ─► does the queue hold as many? ─► no, and nobody looks at it ─► counted anew
an operator removes some ─────┘
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol, get_args

from worker.core.outcome import Reason
from worker.ledger import Counted, Indexed

log = logging.getLogger("worker.letters")

RECOUNT_S = 60.0
"""At most so often the queue is read to count: all letters pass by, as for an operator."""

SHARE = 20
"""And reading it takes at most the twentieth part of the time."""


class Index(Protocol):
    """The part of the ledger that is used; see worker.ledger.Store."""

    async def letters(self) -> Sequence[Counted]: ...
    async def letters_written(self, letters: Sequence[Indexed]) -> None: ...
    async def letters_are(self, letters: Sequence[Indexed]) -> None: ...


class Letters:
    """What is known of the letters in the queue.

    `depth` tells how many messages are ready in the queue, `read` reads all of it and raises BrokerError, also when an operator holds it.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._written: list[Indexed] = []
        self._known: Sequence[Counted] = ()
        self._recount_at = 0.0
        self._counted = False

    def wrote(self, letter_id: str, reason: Reason, at: int) -> None:
        """A letter was written (microseconds since 1970)."""
        self._written.append(Indexed(letter_id, reason, at))

    async def keep(
        self, depth: Callable[[], Awaitable[int]], read: Callable[[], Awaitable[Sequence[Indexed]]], now: Callable[[], float]
    ) -> None:
        """Brings the index to what the queue holds. Raises LedgerError, and BrokerError where that must wait; then it is as good as it was."""
        written, self._written = self._written, []
        try:
            await self._index.letters_written(written)
        except BaseException:
            self._written = written + self._written
            raise
        self._known = await self._index.letters()
        if now() < self._recount_at:
            return
        if self._holds(await depth()):
            self._counted = True
            return
        began = now()
        try:
            letters = await read()
            await self._index.letters_are(letters)
            self._known = await self._index.letters()
            self._counted = True
            log.info("the dead letters were counted anew: %d", len(letters))
        finally:
            self._recount_at = now() + max(RECOUNT_S, SHARE * (now() - began))

    def shown(self, now: float) -> Iterator[tuple[Reason, int, float]]:
        """For each reason how many there are, and the age of the oldest in seconds (0: none)."""
        known = {each.reason: each for each in self._known}
        for reason in get_args(Reason):
            counted = known.get(reason)
            yield (reason, counted.letters, now - counted.oldest / 1_000_000) if counted else (reason, 0, 0.0)

    def _holds(self, ready: int) -> bool:
        """Whether the index is believed: once it was compared with what is in the queue, or both are empty, by its count."""
        return ready == sum(each.letters for each in self._known) and (self._counted or ready == 0)
