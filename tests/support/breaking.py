"""The worker, broken by what it handles: `BREAKS_ON=decode:WO-7 BREAKS_BY=kill python -m tests.support.breaking`.

`BREAKS_ON` is where (`decode`, `handle`) and which externalId (`*`: every one), `BREAKS_BY` how the process ends, `BREAKS_WHILE` a file
without which it does not. The worker's own code has no such switch.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from worker import process
from worker.cli import main
from worker.core.message import Message
from worker.ports import Key
from worker.reconcile import Reconciler


def kill() -> None:
    """As the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    """As a library does that gives up: everything is unwound."""
    raise SystemExit("out of memory")


DEATHS: Mapping[str, Callable[[], None]] = {"kill": kill, "abort": os.abort, "leave": leave}


def arm(where: str, external_id: str, die: Callable[[], None]) -> None:
    """Lets the process end when it comes to an event."""

    def decode(message: Message, rules: Any) -> Any:
        if external_id == "*" or f'"{external_id}"'.encode() in message.body:
            die()
        return decoded(message, rules)

    async def reconcile(self: Reconciler, project: Any, key: Key, jobs: Any) -> Any:
        if external_id in ("*", key.external_id):
            die()
        return await reconciled(self, project, key, jobs)

    decoded, reconciled = vars(process)["decode"], Reconciler.reconcile
    match where:
        case "decode":
            setattr(process, "decode", decode)
        case "handle":
            setattr(Reconciler, "reconcile", reconcile)
        case _:
            raise SystemExit(f"no such place: {where}")


if __name__ == "__main__":
    if on := os.environ.get("BREAKS_ON"):
        place, _, which = on.partition(":")
        file = os.environ.get("BREAKS_WHILE", "")
        death = DEATHS[os.environ["BREAKS_BY"]]
        arm(place, which, lambda: death() if not file or Path(file).exists() else None)
    sys.exit(main(["run"]))
