"""A cache that asks once: bounded in size and time, with a shorter memory for what was not there."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)
Found = TypeVar("Found")


class Cache(Generic[Name, Found]):
    """Answers of a look-up by name; None is an answer too: nothing there.

    `found_s` and `absent_s` say for how many seconds of `now` an answer is good, `limit` how many are kept.
    Whoever asks while a look-up of the same name is under way gets its answer, or its error.
    """

    def __init__(self, now: Callable[[], float], *, found_s: float, absent_s: float, limit: int = 50_000) -> None:
        self._now = now
        self._found_s = found_s
        self._absent_s = absent_s
        self._limit = limit
        self._answers: OrderedDict[Name, tuple[Found | None, float]] = OrderedDict()
        self._asked: dict[Name, asyncio.Task[Found | None]] = {}

    def peek(self, name: Name) -> tuple[Found | None] | None:
        """The answer that is still good, in a tuple, or None: unknown."""
        entry = self._answers.get(name)
        if entry is None or entry[1] <= self._now():
            return None
        self._answers.move_to_end(name)
        return (entry[0],)

    async def get(self, name: Name, look_up: Callable[[], Awaitable[Found | None]]) -> Found | None:
        """The cached answer, or that of `look_up`, which at most one caller at a time carries out. Errors are not kept."""
        if (answer := self.peek(name)) is not None:
            return answer[0]
        task = self._asked.get(name)
        if task is None:
            task = self._asked[name] = asyncio.ensure_future(self._ask(name, look_up))
            task.add_done_callback(_read)
        return await asyncio.shield(task)

    def put(self, name: Name, answer: Found | None) -> None:
        """Remembers an answer that was learned otherwise."""
        self._answers[name] = answer, self._now() + (self._absent_s if answer is None else self._found_s)
        self._answers.move_to_end(name)
        while len(self._answers) > self._limit:
            self._answers.popitem(last=False)

    def forget(self, name: Name) -> None:
        """The next question is asked afresh; a look-up that is under way answers only those who asked before."""
        self._answers.pop(name, None)
        self._asked.pop(name, None)

    async def _ask(self, name: Name, look_up: Callable[[], Awaitable[Found | None]]) -> Found | None:
        task = asyncio.current_task()
        try:
            answer = await look_up()
            if self._asked.get(name) is task:
                self.put(name, answer)
            return answer
        finally:
            if self._asked.get(name) is task:
                del self._asked[name]


def _read(task: asyncio.Task[Found | None]) -> None:
    """An error that nobody is left to hear must not be reported as forgotten."""
    if not task.cancelled():
        task.exception()
