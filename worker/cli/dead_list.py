"""`ditio-worker dead list`: groups first, single letters on demand."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from worker.cli.letters import (
    EACH,
    EACH_SHAPE,
    GROUP_SHAPE,
    GROUPED,
    MOST_BODIES,
    desk,
    entry,
    grouped,
    in_seconds,
    knowledge,
    limited,
    row,
)
from worker.cli.selecting import add_order, add_selection, selection_of
from worker.cli.terminal import Command, Terminal, add_format
from worker.config import Settings
from worker.core.dead_letter import decodable

if TYPE_CHECKING:
    from worker.dead import Look

DONE, NOTHING_MATCHED = 0, 3


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Lists what matches."""
    settings = terminal.settings("dead list")
    look = asyncio.run(_looked(arguments, settings))
    if not look.seen:
        terminal.complain(f"nothing matched: {look.total} dead letters in all")
        if arguments.format != "table":
            terminal.show(arguments.format, (), [])
        return NOTHING_MATCHED
    if arguments.each:
        asyncio.run(_show_each(arguments, look, settings, terminal))
    else:
        _show_groups(arguments, look, terminal)
    terminal.complain(
        f"{len(look.seen)} of {look.total} dead letters" if len(look.seen) < look.total else f"{look.total} dead letters"
    )
    return DONE


async def _looked(arguments: argparse.Namespace, settings: Settings) -> Look:
    async with desk(settings, "dead list", arguments.most) as at:
        return await at.look(selection_of(arguments), most_bodies=MOST_BODIES if arguments.each else 0, kept=decodable)


async def _show_each(arguments: argparse.Namespace, look: Look, settings: Settings, terminal: Terminal) -> None:
    """One letter after the other, so that what JSON has of a hundred thousand is never held at once."""
    if look.bodiless:
        terminal.complain(
            f"of {look.bodiless} letters it was not looked whether they are superseded: their bodies are too much to hold"
        )
    chosen = limited(look.seen, arguments, terminal.complain)
    rows: list[dict[str, Any]] = []
    async with knowledge(settings, terminal) as known:
        chosen.reverse()
        while chosen:
            each = chosen.pop()
            told = entry(each.letter, await known.standing(each, look))
            if arguments.format == "jsonl":
                terminal.show("jsonl", (), [told])
            elif arguments.format == "json":
                rows.append(told)
            else:
                shown = row(told)
                rows.append({column: shown[column] for column in EACH})
    if arguments.format != "jsonl":
        terminal.show(arguments.format, EACH, rows)


def _show_groups(arguments: argparse.Namespace, look: Look, terminal: Terminal) -> None:
    rows = grouped(each.letter for each in look.seen)
    if arguments.limit is not None and len(rows) > arguments.limit:
        terminal.complain(f"only the first {arguments.limit} of {len(rows)} groups (--limit)")
        rows = rows[: arguments.limit]
    if arguments.format == "table":
        rows = [{**each, "oldest": in_seconds(each["oldest"]), "newest": in_seconds(each["newest"])} for each in rows]
    terminal.show(arguments.format, GROUPED, rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Filters, order and format."""
    parser.add_argument("--each", action="store_true", help="single letters instead of groups")
    add_selection(parser)
    add_order(parser)
    add_format(parser)


COMMAND = Command(
    summary="groups of letters with count, oldest, newest and a sample; --each for single letters",
    description="Lists the dead letters in groups of the same reason, type, source, status and field, the largest first; with --each one by one.\n\n"
    "standing: superseded (newer events have said all that it says: safe to discard), together (others of its work order are dead\n"
    "too: replay them together), fix (neither: what caused it must be fixed). who: who can fix it. Superseded is told by the ledger\n"
    "(LEDGER_URL), which is only read.\n\n"
    f"json: [{{{GROUP_SHAPE}}}, …];\njsonl: one such object a line. --each: [{{{EACH_SHAPE}}}, …].",
    example="  ditio-worker dead list\n  ditio-worker dead list --each --reason invalid-event --since 2d --sort newest --limit 20\n"
    "  ditio-worker dead list --each --format jsonl | jq -r 'select(.standing == \"superseded\") | .id'",
    execute=execute,
    arguments=add_arguments,
)
