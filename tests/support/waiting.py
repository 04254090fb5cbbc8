"""Waiting for something to become true, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

POLL_S = 0.02


async def eventually(check: Callable[[], Result], within_s: float = 20.0, *, what: str = "") -> Result:
    """The first true result of a check. Fails after `within_s` seconds, telling the last result."""
    deadline = time.monotonic() + within_s
    while not (result := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or check}; the last result was {result!r}")
        await asyncio.sleep(POLL_S)
    return result
