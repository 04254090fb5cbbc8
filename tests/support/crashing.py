"""The worker, killed by itself at a chosen moment: `CRASH_AT=gap:passes python -m tests.support.crashing`.

    received ─► deciding ─► sending ─► sent ─► committed ─► acknowledged

The process ends by SIGKILL, as in a power cut, when a gap is passed for the given time. The worker's own code has no such switch.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from worker.api import Client
from worker.cli import main
from worker.ledger.sqlite import SqliteLedger
from worker.process import Process
from worker.rabbit.intake import Delivery
from worker.reconcile import Reconciler

GAPS = ("received", "deciding", "sending", "sent", "committed", "acknowledged")


class Fuse:
    """Burns down by one with each pass."""

    def __init__(self, passes: int) -> None:
        self.left = passes

    def burn(self) -> None:
        """Kills the process when nothing is left."""
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def before(method: Callable[..., Awaitable[Any]], fuse: Fuse) -> Callable[..., Awaitable[Any]]:
    """The method, with the fuse burning before it."""

    @wraps(method)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        fuse.burn()
        return await method(*arguments, **named)

    return wrapped


def after(method: Callable[..., Awaitable[Any]], fuse: Fuse) -> Callable[..., Awaitable[Any]]:
    """The method, with the fuse burning after it."""

    @wraps(method)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        result = await method(*arguments, **named)
        fuse.burn()
        return result

    return wrapped


def arm(gap: str, fuse: Fuse) -> None:
    """Puts the fuse into a gap."""
    match gap:
        case "received":
            setattr(Process, "take", before(Process.take, fuse))
        case "deciding":
            setattr(Reconciler, "reconcile", before(Reconciler.reconcile, fuse))
        case "sending":
            setattr(Client, "send", before(Client.send, fuse))
        case "sent":
            setattr(Client, "send", after(Client.send, fuse))
        case "committed":
            setattr(SqliteLedger, "commit", after(SqliteLedger.commit, fuse))
        case "acknowledged":
            acknowledge = Delivery.ack

            def ack(delivery: Delivery) -> None:
                acknowledge(delivery)
                fuse.burn()

            setattr(Delivery, "ack", ack)
        case _:
            raise SystemExit(f"no such gap: {gap}")


if __name__ == "__main__":
    if at := os.environ.get("CRASH_AT"):
        name, _, count = at.partition(":")
        arm(name, Fuse(int(count)))
    sys.exit(main(["run"]))
