"""`ditio-worker dead import`: exported letters come back, as they were or edited."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from worker.cli.files import FileError
from worker.cli.letters import desk
from worker.cli.selecting import LARGEST_LOOK
from worker.cli.terminal import Command, Terminal, add_format
from worker.core.exported import NotExported, read_line

if TYPE_CHECKING:
    from worker.config import Settings
    from worker.dead.returning import Decided, Returned

DONE, FAILED, NOTHING = 0, 1, 3
COLUMNS = ("file", "line", "id", "action", "field", "detail")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Imports all lines, or none where one cannot be."""
    from worker.dead.returning import REFUSED  # noqa: PLC0415 - keeps --help fast

    settings = terminal.settings("dead import")
    returned = [each for file in arguments.files for each in read(file, terminal.stdin or sys.stdin.buffer)]
    if not returned:
        terminal.complain("there is no letter to import")
        return NOTHING
    decided = asyncio.run(_imported(returned, arguments, settings))
    refused = any(each.action in REFUSED for each in decided)
    rows = [
        {"file": each.returned.file, "line": each.returned.line, "id": each.returned.id, "action": each.action, "field": each.field,
         "detail": each.detail, "new_id": (each.message.headers.get("letter-id") if each.message else None)}
        for each in decided
    ]  # fmt: skip
    terminal.show(arguments.format, COLUMNS, rows)
    counts = ", ".join(f"{count} {action}" for action, count in Counter(each.action for each in decided).items())
    ending = "nothing was imported" if refused or arguments.dry_run else "imported"
    terminal.complain(f"{len(decided)} letters: {counts}; {ending}")
    return FAILED if refused else DONE


def read(file: str, stdin: BinaryIO) -> list[Returned]:
    """The letters of a file (`-`: standard input). Raises FileError."""
    from worker.dead.returning import Returned  # noqa: PLC0415

    try:
        data = stdin.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {file}: {(error.strerror or 'not possible').lower()}") from None
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            told, message = read_line(line)
        except NotExported as error:
            raise FileError(f"{file}, line {number}: {error}") from None
        found.append(Returned(file, number, told.id, message, told.redacted))
    return found


async def _imported(returned: Sequence[Returned], arguments: argparse.Namespace, settings: Settings) -> list[Decided]:
    from worker.core.decode import decode  # noqa: PLC0415
    from worker.dead import operator  # noqa: PLC0415
    from worker.dead.returning import REFUSED, carry_out, decide, there  # noqa: PLC0415
    from worker.rabbit import Publisher  # noqa: PLC0415
    from worker.wiring import broker_access, rules_of, topology_of  # noqa: PLC0415

    rules = rules_of(settings)
    async with desk(settings, "dead import", arguments.most) as at:
        found = await there(at, frozenset(each.id for each in returned))
        now = int(time.time() * 1_000_000)
        decided = decide(
            returned, found, lambda message: decode(message, rules), restore=arguments.restore, by=operator(), at=now
        )
        if arguments.dry_run or any(each.action in REFUSED for each in decided):
            return decided
        publisher = Publisher(broker_access(settings))
        try:
            await carry_out(decided, at, publisher, topology_of(settings).dead)
        finally:
            await publisher.close()
    return decided


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, and what may be done."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="lines of `dead export`, edited or not; - is standard input")
    parser.add_argument(
        "--restore", action="store_true", help="also put back letters that are no longer there, such as discarded ones"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--most", type=int, default=LARGEST_LOOK, metavar="N", help="look at up to N letters in all; default %(default)s"
    )
    add_format(parser)


COMMAND = Command(
    summary="bring edited letters back, or put discarded ones back",
    description="Brings exported letters back among the dead letters, from where `dead replay` sends them on. An edited one takes the place of its\n"
    "original, which stays until the broker has confirmed the edited one; it must be a valid event, and says in headers from which\n"
    "letter, by whom and when (edited-from, edited-by, edited-at), and how many edits there were (repair-count, part of the event's place\n"
    "in the order). JSON that is only written in another way is no edit. Where one line cannot be imported, none is.\n\n"
    "action: unchanged, replace, restore, finish (an import that was interrupted), or why not: missing, invalid, redacted, twice.\n\n"
    'json: [{"file": …, "line": n, "id": …, "action": …, "field": …, "detail": …, "new_id": … or null}, …]; jsonl: one such object a line.',
    example="  ditio-worker dead export --reason invalid-event > letters.jsonl\n  $EDITOR letters.jsonl\n"
    "  ditio-worker dead import letters.jsonl --dry-run\n  ditio-worker dead import letters.jsonl",
    execute=execute,
    arguments=add_arguments,
)
