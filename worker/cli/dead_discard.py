"""`ditio-worker dead discard`: takes letters out for good, after they were written to a file."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from worker.cli.files import FileError
from worker.cli.index import noted_removal
from worker.cli.letters import GROUPED, MOST_BODIES, desk, grouped, in_seconds, knowledge
from worker.cli.selecting import add_selection, selection_of
from worker.cli.terminal import Command, Terminal
from worker.config import Settings
from worker.core.dead_letter import DeadLetter, decodable
from worker.core.exported import line_of
from worker.core.letter import REASONS
from worker.core.message import Message

if TYPE_CHECKING:
    from worker.dead import Desk, Look

DONE, FAILED, WRONG, NOTHING_MATCHED = 0, 1, 2, 3


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Discards what matches, once that was agreed to."""
    if arguments.why in REASONS:
        terminal.complain(f"--reason says why letters are discarded; the filter is --failure-reason {arguments.why}")
        return WRONG
    if selection_of(arguments).everything and not (arguments.superseded or arguments.all):
        terminal.complain("say which letters: a filter, --superseded, or --all")
        return WRONG
    settings = terminal.settings("dead discard")
    chosen = asyncio.run(_chosen(arguments, settings, terminal))
    if not chosen:
        terminal.complain("nothing matched")
        return NOTHING_MATCHED
    rows = grouped(chosen.values())
    terminal.show(
        "table", GROUPED, [{**each, "oldest": in_seconds(each["oldest"]), "newest": in_seconds(each["newest"])} for each in rows]
    )
    if not (arguments.yes or _agreed(len(chosen), terminal)):
        terminal.complain("nothing was discarded")
        return FAILED
    archive = None if arguments.no_archive else _archive(arguments.archive)
    removed = asyncio.run(_discarded(frozenset(chosen), archive, arguments, settings, terminal))
    where = f", and are kept in {archive}" if archive else ""
    terminal.complain(f"{removed} letters were discarded{where}")
    if removed < len(chosen):
        terminal.complain(f"{len(chosen) - removed} were no longer there")
    return DONE


async def _chosen(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, DeadLetter]:
    """The letters that are meant, by id: frozen before anything is asked."""
    async with desk(settings, "dead discard", arguments.most) as at:
        look = await at.look(selection_of(arguments), most_bodies=MOST_BODIES if arguments.superseded else 0, kept=decodable)
    if arguments.superseded:
        return await _superseded(look, settings, terminal)
    return {each.letter.id: each.letter for each in look.seen}


async def _superseded(look: Look, settings: Settings, terminal: Terminal) -> dict[str, DeadLetter]:
    if look.bodiless:
        terminal.complain(f"{look.bodiless} letters are left alone: their bodies are too much to hold; narrow the filters")
    async with knowledge(settings, terminal) as known:
        return {each.letter.id: each.letter for each in look.seen if await known.standing(each, look) == "superseded"}


def _agreed(count: int, terminal: Terminal) -> bool:
    print(f"Discard {count} dead letters? [y/N] ", end="", file=terminal.err, flush=True)
    answer = (terminal.stdin or sys.stdin.buffer).readline()
    return answer.strip().lower() in (b"y", b"yes")


def _archive(given: str | None) -> Path:
    return Path(given or f"dead-letters-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")


async def _discarded(
    ids: frozenset[str], archive: Path | None, arguments: argparse.Namespace, settings: Settings, terminal: Terminal
) -> int:
    from worker.dead import operator  # noqa: PLC0415

    told = {"reason": arguments.why, "by": operator(), "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    async with desk(settings, "dead discard", arguments.most) as at:
        if archive is not None:
            await _archived(at, ids, archive, told)
        removed = await at.remove(ids)
    await noted_removal(removed, settings, terminal)
    return len(removed)


async def _archived(at: Desk, ids: frozenset[str], archive: Path, told: dict[str, str]) -> None:
    """Appends the letters to the file. When it returns they are on the disk. Raises FileError."""
    try:
        with archive.open("ab") as file:

            def visit(letter: DeadLetter, message: Message) -> None:
                if letter.id in ids:
                    file.write(line_of(letter.id, message, discarded=told) + b"\n")

            await at.visit(visit)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        said = (error.strerror or "not possible").lower()
        raise FileError(f"cannot write {archive}: {said}; nothing was discarded") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Filters, why, where to, and whether to ask."""
    parser.add_argument("--superseded", action="store_true", help="of those that match only what newer events have superseded")
    parser.add_argument("--all", action="store_true", help="all of them, where no filter is given")
    parser.add_argument(
        "--reason", dest="why", default="", metavar="TEXT", help="why they are discarded; it is written to the archive"
    )
    parser.add_argument(
        "--archive", metavar="FILE", help="append the letters to it first; dead-letters-TIME.jsonl here unless given"
    )
    parser.add_argument("--no-archive", action="store_true", help="do not keep them anywhere")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_selection(parser, reason=())


COMMAND = Command(
    summary="take letters out for good, written to a file first",
    description="Shows what would be discarded and asks. The letters are first appended to a file, from which `dead import --restore` puts them\n"
    "back; only when that is on the disk are they taken out of the queue. The rest stays in its order.\n\n"
    "With --superseded only letters are discarded of which every value has a newer one that Ditio has confirmed, as the ledger says.",
    example='  ditio-worker dead discard --superseded --reason "newer events came through"\n  ditio-worker dead discard --id 3f2a9c --yes',
    execute=execute,
    arguments=add_arguments,
)
