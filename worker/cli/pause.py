"""`ditio-worker pause`."""

from __future__ import annotations

import argparse
import asyncio

from worker.cli.opening import operator, writing_ledger
from worker.cli.terminal import Command, Terminal
from worker.config import Settings

LONGEST_REASON = 1000


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Notes the pause, which the workers obey."""
    settings = terminal.settings("pause")
    asyncio.run(_pause(settings, arguments.reason))
    terminal.complain("paused: no events are taken until ditio-worker resume")
    return 0


async def _pause(settings: Settings, reason: str) -> None:
    async with writing_ledger(settings) as store:
        await store.pause(reason, operator())


def _reason(text: str) -> str:
    line = " ".join(text.split())
    if not line or len(line) > LONGEST_REASON or not line.isprintable():
        raise argparse.ArgumentTypeError(f"expected a sentence of at most {LONGEST_REASON} characters")
    return line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The reason."""
    parser.add_argument("--reason", metavar="TEXT", type=_reason, required=True, help="why, for whoever finds the worker paused")


COMMAND = Command(
    summary="stop taking events, until resume",
    description="Notes in the ledger (LEDGER_URL) that no events are to be taken. Every worker on it obeys within two seconds, gives\n"
    "back to the broker what it holds, and is not ready; it stays paused after a restart too. Nothing is lost: events stay in\n"
    "their queue. A pause that is in force is replaced.",
    example='  ditio-worker pause --reason "month end in Visma, until 18:00"',
    execute=execute,
    arguments=add_arguments,
)
