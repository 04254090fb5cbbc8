"""`ditio-worker plan`: what events would do to Ditio now, without doing it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from worker.cli.files import Found, add_files, events
from worker.cli.planned import COUNTED, FORMATS, SHAPES, counted, entry, show, show_rows
from worker.cli.progress import progress
from worker.cli.terminal import Command, Terminal
from worker.cli.validate import STRUCTURED
from worker.config import Settings, SettingsError
from worker.core.identity import Identity
from worker.core.message import Message
from worker.core.outcome import Dead, Failure
from worker.core.rehearsed import Rehearsed

DONE, FAILED, NOTHING = 0, 1, 3


class Rehearsal(Protocol):
    """See worker.rehearsal."""

    async def of(self, message: Message) -> Rehearsed: ...


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Says of each event what it would do."""
    settings = terminal.settings("plan")
    found = events(arguments.files, terminal.stdin or sys.stdin.buffer)
    if not found:
        terminal.complain("there is no event to plan")
        return NOTHING
    entries = asyncio.run(_planned(found, settings, terminal))
    if arguments.summary:
        show_rows(arguments.format, COUNTED, counted(entries), terminal)
    else:
        show(arguments.format, ("file", "line"), entries, terminal)
    failing = sum(each["outcome"] == "dead" for each in entries)
    waiting = sum(each["outcome"] == "waiting" for each in entries)
    terminal.complain(f"{len(entries)} events: {waiting} would wait, {failing} would fail, in whole or in part")
    return FAILED if failing else DONE


@asynccontextmanager
async def opened(settings: Settings, terminal: Terminal) -> AsyncIterator[Rehearsal]:
    """A rehearsal of the worker of these settings. Raises SettingsError where that worker could not use its ledger."""
    from worker import ledger  # noqa: PLC0415 - keeps --help fast
    from worker.account import Noted, skew  # noqa: PLC0415
    from worker.api import open_api  # noqa: PLC0415
    from worker.clock import WallClock  # noqa: PLC0415
    from worker.wiring import api_access, rehearsal_of  # noqa: PLC0415

    url, clock, noted = settings.ledger_url(), WallClock(), Noted()
    async with AsyncExitStack() as stack:
        try:
            known = await ledger.open_known(
                url.place, api_base=settings.ditio_api_base, company_id=settings.ditio_company_id, clock=clock
            )
        except ledger.LedgerRefused as error:
            raise SettingsError([str(error)]) from error
        if known is None:
            terminal.complain(f"there is no ledger at {url.shown} yet: every work order is looked up in Ditio")
        else:
            stack.push_async_callback(known.close)
        client = await stack.enter_async_context(open_api(api_access(settings), clock, noted))
        yield rehearsal_of(settings, client, known, clock)
        if wrong := skew(noted, settings):
            terminal.complain(f"warning: {wrong}; the worker would pause")


async def _planned(found: Sequence[Found], settings: Settings, terminal: Terminal) -> list[dict[str, Any]]:
    entries = []
    async with opened(settings, terminal) as rehearsal:
        with progress(terminal, len(found), "rehearsing") as advance:
            for each in found:
                entries.append(_entry(each, await _rehearsed(each, rehearsal), terminal))
                advance()
    return entries


async def _rehearsed(found: Found, rehearsal: Rehearsal) -> Rehearsed:
    if found.malformed:
        return Rehearsed("fail", Dead(Failure("invalid-event", f"no valid JSON: {found.malformed}")), Identity())
    return await rehearsal.of(Message(found.body, properties={"content_type": STRUCTURED}))


def _entry(found: Found, rehearsed: Rehearsed, terminal: Terminal) -> dict[str, Any]:
    """The line is that of the field, where the event as a whole would fail for one."""
    failed = rehearsed.failure.field if rehearsed.failure and rehearsed.action == "fail" else ""
    told = entry({"file": found.file, "line": found.line_of(failed)}, rehearsed)
    return {**told, "detail": terminal.mask.clean(told["detail"])}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, summary and format."""
    add_files(parser)
    parser.add_argument("--summary", action="store_true", help="only how many events would do what")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table unless given")


COMMAND = Command(
    summary="say what events would do to Ditio now, without doing it",
    description="Rehearses events (structured CloudEvents in JSON) as the worker would handle them, in the order of the files, each after\n"
    "those before it. It reads Ditio, and the ledger if there is one, and writes to neither.\n\n"
    "action: create, update, replace (a PUT, which resets), delete, deactivate, unchanged, superseded (newer events have said it all),\n"
    "ignored (WORKER_PROJECTS), wait, fail. A part of an event that would wait or fail has a row of its own beside the rest.\n"
    "Not foreseen is what only Ditio can refuse, and what a new task takes from the project's template.\n"
    "The exit status is 1 when anything would fail, and 3 when there is no event.\n\n"
    f'json: [{{"file": …, "line": n,\n  {SHAPES}}}, …];\n'
    "jsonl: one such object a line. csv: file, line and the columns of the table, with id, type, task_id and reason.\n"
    '--summary: [{"action": …, "events": n, "waiting": n, "failing": n}, …], with those of which a part would wait or fail.',
    example="  ditio-worker plan catalogue.jsonl --summary\n  ditio-worker plan catalogue.jsonl --format csv > plan.csv",
    execute=execute,
    arguments=add_arguments,
)
