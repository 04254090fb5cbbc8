"""`ditio-worker dead export`: letters as JSON Lines that come back to the byte."""

from __future__ import annotations

import argparse
import asyncio
import shutil
from tempfile import TemporaryFile
from typing import IO

from worker.cli.letters import desk
from worker.cli.selecting import add_selection, selection_of
from worker.cli.terminal import Command, Terminal
from worker.config import Settings
from worker.core.dead_letter import DeadLetter
from worker.core.exported import line_of
from worker.core.message import Message
from worker.core.redacted import redacted
from worker.core.selection import selected

DONE, NOTHING_MATCHED = 0, 3


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Writes what matches to standard output."""
    settings = terminal.settings("dead export")
    # Whoever reads the output may be slow, and meanwhile no letter is to be held.
    with TemporaryFile("w+", encoding="utf-8", newline="\n") as spool:
        count = asyncio.run(_exported(arguments, settings, spool))
        spool.seek(0)
        shutil.copyfileobj(spool, terminal.out)
    terminal.complain(f"{count} letters exported")
    return DONE if count else NOTHING_MATCHED


async def _exported(arguments: argparse.Namespace, settings: Settings, to: IO[str]) -> int:
    selection, count = selection_of(arguments), 0

    def visit(letter: DeadLetter, message: Message) -> None:
        nonlocal count
        if selected(selection, letter, message):
            shown = redacted(message) if arguments.redact else message
            to.write(line_of(letter.id, shown, redacted=arguments.redact).decode() + "\n")
            count += 1

    async with desk(settings, "dead export", arguments.most) as at:
        await at.visit(visit)
    return count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Filters, and whether values are taken out."""
    parser.add_argument(
        "--redact", action="store_true", help="for a ticket: kinds of values instead of values; cannot be imported"
    )
    add_selection(parser)


COMMAND = Command(
    summary="write letters as JSON Lines that can be edited and imported",
    description="Writes the letters that match to standard output, in the order of the queue; they stay where they are. Bodies, headers and\n"
    "properties survive the way out and back to the byte.\n\n"
    'Each line: {"id": …, "body": {"json": …} or {"text": …} or {"base64": …}, "headers": {…}, "properties": {…}}.\n'
    'Values that JSON lacks are objects: {"float": "1.5"} {"decimal": "1.25"} {"time": "2026-03-15T08:00:00Z"} {"base64": …} {"table": {…}}.\n\n'
    "With --redact names of fields, ids, times and reasons stay, and all other values give way to what kind they are.",
    example="  ditio-worker dead export --reason invalid-event > letters.jsonl\n  ditio-worker dead export --id 3f2a9c --redact",
    execute=execute,
    arguments=add_arguments,
)
