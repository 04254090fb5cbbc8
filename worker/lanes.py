"""Lanes: what belongs to one key is done in order, in batches; different keys at once, up to a limit.

    submit(key, item) ──► lane of the key ──► work(key, items)     a lane exists only while it has something to do

A slow key holds up nobody but itself; whatever has gathered in its lane meanwhile is handed over as one batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from worker.core.errors import Abandoned

__all__ = ["Abandoned", "Lanes"]

Name = TypeVar("Name", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes(Generic[Name, Item, Result]):
    """Runs `work(key, items)`, which returns one result for each item, in the order of submission within a key.

    At most `limit` keys are worked on at once, and a batch holds at most `largest_batch` items. `abandoned` counts how often
    everything was let go of.
    """

    def __init__(
        self, work: Callable[[Name, Sequence[Item]], Awaitable[Sequence[Result]]], *, limit: int, largest_batch: int = 64
    ) -> None:
        self._work = work
        self._limit = limit
        self._largest_batch = largest_batch
        self._lanes: dict[Name, deque[tuple[Item, asyncio.Future[Result]]]] = {}
        self._ready: deque[Name] = deque()
        self._running: dict[asyncio.Task[None], Name] = {}
        self._standing_aside = 0
        self._open = True
        self.abandoned = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """How many keys have something to do."""
        return len(self._lanes)

    @property
    def running(self) -> int:
        """How many keys are worked on now."""
        return len(self._running)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For work that waits for something that is not its own: meanwhile another key takes its place within the limit."""
        self._standing_aside += 1
        self._start()
        try:
            yield
        finally:
            self._standing_aside -= 1

    async def submit(self, key: Name, item: Item) -> Result:
        """The result of the item's batch. Raises what the work raised, or Abandoned."""
        if not self._open:
            raise Abandoned
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
            self._ready.append(key)
        lane.append((item, future))
        self._idle.clear()
        self._start()
        return await future

    def abandon(self) -> None:
        """Lets go of everything that was not begun, and of all that comes until `open`; what is under way goes on."""
        self._open = False
        self.abandoned += 1
        self._ready.clear()
        for lane in self._lanes.values():
            while lane:
                _, future = lane.popleft()
                if not future.done():
                    future.set_exception(Abandoned())
        running = set(self._running.values())
        self._lanes = {key: lane for key, lane in self._lanes.items() if key in running}
        self._rest()

    def open(self) -> None:
        """Takes items again."""
        self._open = True

    async def idle(self) -> None:
        """Returns when nothing is under way and nothing waits."""
        await self._idle.wait()

    def _start(self) -> None:
        while self._ready and len(self._running) - self._standing_aside < self._limit:
            key = self._ready.popleft()
            task = asyncio.ensure_future(self._run(key))
            self._running[task] = key
            task.add_done_callback(self._ended)

    async def _run(self, key: Name) -> None:
        lane = self._lanes[key]
        batch = [lane.popleft() for _ in range(min(len(lane), self._largest_batch))]
        try:
            results = await self._work(key, [item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:  # whoever submitted hears of it, each for itself
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in batch:
                future.cancel()  # does nothing to those that have their result
            if lane:
                self._ready.append(key)
            else:
                self._lanes.pop(key, None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._start()
        self._rest()

    def _rest(self) -> None:
        if not self._running and not self._ready:
            self._idle.set()
