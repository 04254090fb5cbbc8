"""Processes of a simulated world: tasks that live and die together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

CURRENT: ContextVar[SimulatedProcess | None] = ContextVar("CURRENT", default=None)


class SimulatedProcess:
    """Tasks that live and die together. `alive` is asked by everything that has an effect outside."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What is started in the block belongs to the process."""
        token = CURRENT.set(self)
        try:
            yield
        finally:
            CURRENT.reset(token)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs something in the process."""
        with self.entered():
            return asyncio.ensure_future(work)

    def kill(self) -> None:
        """As `kill -9` does: no task runs on, and nothing that it does on its way out reaches anybody."""
        self.alive = False
        for task in tuple(self._tasks):
            task.cancel()

    def add(self, task: asyncio.Task[Any]) -> None:
        """A task of this process."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def made(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **named)
    if (process := CURRENT.get()) is not None:
        process.add(task)
    return task
