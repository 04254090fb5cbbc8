"""`ditio-worker dead plan`: what a replay of letters would do now, without doing it."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from worker.cli.letters import desk, limited
from worker.cli.plan import opened
from worker.cli.planned import COUNTED, FORMATS, SHAPES, counted, entry, show, show_rows
from worker.cli.progress import progress
from worker.cli.selecting import add_order, add_selection, selection_of
from worker.cli.terminal import Command, Terminal
from worker.config import Settings
from worker.core.dead_letter import original
from worker.core.message import Message

if TYPE_CHECKING:
    from worker.dead import Look, Seen

DONE, FAILED, NOTHING_MATCHED = 0, 1, 3


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Says of each letter that matches what it would do."""
    settings = terminal.settings("dead plan")
    look = asyncio.run(_looked(arguments, settings))
    if look.bodiless:
        terminal.complain(f"{look.bodiless} of these letters are more than can be held at once: narrow the filters")
        return FAILED
    ordered = limited(look.seen, arguments, terminal.complain)
    chosen = [(each, each.message) for each in ordered if each.message is not None]
    if not chosen:
        terminal.complain(f"nothing matched: {look.total} dead letters in all")
        return NOTHING_MATCHED
    entries = asyncio.run(_planned(chosen, settings, terminal))
    if arguments.summary:
        show_rows(arguments.format, COUNTED, counted(entries), terminal)
    else:
        show(arguments.format, ("letter",), entries, terminal)
    failing = sum(each["outcome"] == "dead" for each in entries)
    waiting = sum(each["outcome"] == "waiting" for each in entries)
    terminal.complain(f"{len(entries)} letters: {waiting} would wait, {failing} would die again, in whole or in part")
    return FAILED if failing else DONE


async def _looked(arguments: argparse.Namespace, settings: Settings) -> Look:
    async with desk(settings, "dead plan", arguments.most) as at:
        return await at.look(selection_of(arguments))


async def _planned(chosen: list[tuple[Seen, Message]], settings: Settings, terminal: Terminal) -> list[dict[str, Any]]:
    entries = []
    async with opened(settings, terminal) as rehearsal:
        with progress(terminal, len(chosen), "rehearsing") as advance:
            for each, message in chosen:
                told = entry({"letter": each.letter.id}, await rehearsal.of(original(message)))
                entries.append({**told, "detail": terminal.mask.clean(told["detail"])})
                advance()
    return entries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Filters, order, summary and format."""
    parser.add_argument("--summary", action="store_true", help="only how many letters would do what")
    add_selection(parser)
    add_order(parser)
    parser.set_defaults(sort="work-order")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table unless given")


COMMAND = Command(
    summary="what a replay would do to Ditio now, field by field, without doing it",
    description="Rehearses the letters that match as the worker would handle them if they were replayed now, those of a work order after each\n"
    "other. It reads Ditio and the ledger, and writes to neither; the letters stay. action: as in `ditio-worker plan`.\n"
    "The exit status is 1 when any would die again.\n\n"
    f'json: [{{"letter": …,\n  {SHAPES}}}, …];\njsonl: one such object a line. csv: the same columns as in `ditio-worker plan`.\n'
    '--summary: [{"action": …, "events": n, "waiting": n, "failing": n}, …].',
    example="  ditio-worker dead plan --reason unresolved-project --project P-2026-001\n  ditio-worker dead plan --summary",
    execute=execute,
    arguments=add_arguments,
)
