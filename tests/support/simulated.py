"""Simulated time, and a Ditio in memory: minutes pass in a moment, and the same seed gives the same run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from worker.api import Received
from worker.api.wire import TimedOut
from worker.core.errors import UnknownOutcome
from worker.sandbox import Request, Sandbox

Result = TypeVar("Result")

NOON = 1_773_576_000.0
"""Sun, 15 Mar 2026 12:00:00 GMT: when simulated time begins."""


class Stuck(Exception):
    """Everything waits, and nothing will ever come."""


class Timer:
    """Takes a selector's place: it waits for nothing, and lets the time pass instead."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """No events, after so many simulated seconds. Raises Stuck."""
        if timeout is None:
            raise Stuck("everything waits, and nothing will ever come")
        self.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.base_events.BaseEventLoop):
    """asyncio's own loop: time stands while there is something to do, and jumps to the next timer when there is not."""

    def __init__(self) -> None:
        super().__init__()
        self._timer = self._selector = Timer()
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Simulated seconds since the loop was made."""
        return self._timer.now

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody is asleep."""


def simulate(main: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine returns, in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)


class SimulatedClock:
    """The running loop's time; chance by a seed. See worker.ports.Clock."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def now(self) -> float:
        return NOON + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def chance(self) -> float:
        return self._random.random()


class SandboxWire:
    """A sandbox without HTTP. See worker.api.Wire."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, within_s: float) -> Received:
        given = {name.lower(): value for name, value in headers.items()}
        reply = self._sandbox.handle(Request(method, urlsplit(url).path, given, content or b""))
        await asyncio.sleep(min(reply.delay_s, within_s))
        if reply.delay_s > within_s:
            raise TimedOut(f"no answer within {within_s:g} s")
        if reply.drop:
            raise UnknownOutcome("the connection broke")
        return Received(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.body)
