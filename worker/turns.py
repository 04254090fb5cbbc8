"""Turns: in the order of arrival, some alone, all others together.

turn(alone) ──► waits while somebody is alone inside, and behind everyone who came before
                alone: also until everyone inside has left
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Turns:
    """Whether somebody must be alone is asked when it is next in turn: what happened while it waited counts."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], bool], asyncio.Future[bool]]] = deque()
        self._inside = 0
        self._alone = False

    @asynccontextmanager
    async def turn(self, alone: Callable[[], bool]) -> AsyncIterator[bool]:
        """Inside the block it is one's turn; gives whether one is alone."""
        admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((alone, admitted))
        self._admit()
        try:
            yield await admitted
        finally:
            if admitted.done() and not admitted.cancelled():
                self._inside -= 1
                self._alone = False
            self._admit()

    def _admit(self) -> None:
        while self._waiting and not self._alone:
            alone, admitted = self._waiting[0]
            if admitted.cancelled():
                self._waiting.popleft()
                continue
            wanted = alone()
            if wanted and self._inside:
                return
            self._waiting.popleft()
            self._inside += 1
            self._alone = wanted
            admitted.set_result(wanted)
