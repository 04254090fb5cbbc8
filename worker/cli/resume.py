"""`ditio-worker resume`."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from worker.cli.opening import utc, writing_ledger
from worker.cli.terminal import Command, Terminal
from worker.config import Settings

if TYPE_CHECKING:
    from worker.ledger import Pause

NOTHING = 3


def execute(_: argparse.Namespace, terminal: Terminal) -> int:
    """Ends the pause, and tells which it was."""
    ended = asyncio.run(_resume(terminal.settings("resume")))
    if ended is None:
        terminal.complain(
            "there is no pause to end (a worker that pauses for another cause goes on by itself; see ditio-worker status)"
        )
        return NOTHING
    terminal.complain(f"resumed: was paused by {ended.by} since {utc(ended.at)}: {ended.reason}")
    return 0


async def _resume(settings: Settings) -> Pause | None:
    async with writing_ledger(settings) as store:
        return await store.resume()


COMMAND = Command(
    summary="end a pause, also one for a mass change",
    description="Ends the pause that the ledger (LEDGER_URL) holds: one by hand, or one that the worker made because of more\n"
    "than WORKER_MAX_DEACTIVATIONS_PER_H deactivations, deletions or clears within an hour. After that one as many may follow\n"
    "again. The exit status is 3 when there was none.",
    example="  ditio-worker status && ditio-worker resume",
    execute=execute,
)
