"""Being told to stop: by signals, and while waiting for something else."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("worker.service")

FAILED, INTERRUPTED = 1, 130

CLOSING_S = 4.0
"""What is left for closing everything when the drain is over; then the process ends anyhow, which loses nothing."""

Result = TypeVar("Result")


def heed_signals(stop: asyncio.Event, drain_s: float) -> None:
    """The first signal stops in order, the second or the end of the time at once: nothing is lost, the broker delivers again."""
    loop = asyncio.get_running_loop()

    def at_once(why: str, status: int) -> None:
        log.warning("%s: stopping at once", why)
        logging.shutdown()
        os._exit(status)

    def heard(name: str) -> None:
        if stop.is_set():
            at_once(f"{name} again", INTERRUPTED)
        log.info("%s: finishing what was begun", name)
        stop.set()
        loop.call_later(drain_s + CLOSING_S, at_once, "closing takes too long", FAILED)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, heard, each.name)


async def unless(stop: asyncio.Event, doing: Coroutine[Any, Any, Result]) -> Result | None:
    """What something gives, or None when it is told to stop meanwhile, which cancels it. Raises what it raises."""
    done, stopped = asyncio.ensure_future(doing), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({done, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return done.result() if done.done() else None
    finally:
        stopped.cancel()
        done.cancel()  # does nothing to what has ended
        await asyncio.wait({done})
