"""`ditio-worker tasks`: Ditio's side, by each of its look-ups."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from worker.cli.lookups import COMBINATIONS, FINDS, Finder, Given, flag
from worker.cli.terminal import Command, Terminal, add_format
from worker.ports import Task

WRONG, NOTHING_MATCHED = 2, 3

COLUMNS = ("externalId", "name", "active", "id", "projectId", "parentActivityId")

Ask: TypeAlias = Callable[[Finder], Awaitable[Sequence[Task]]]


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Shows one task, or those that match."""
    if arguments.what == "show":
        return _show(arguments, terminal)
    given: Given = {name: value for name in OPTIONS if (value := getattr(arguments, name)) is not None}
    if (find := FINDS.get(tuple(given))) is None:
        together = " with ".join(map(flag, given)) or "nothing"
        terminal.complain(f"Ditio has no look-up by {together}; they take:", COMBINATIONS)
        return WRONG
    found = _asked(terminal, lambda finder: find(finder, given))
    if arguments.format != "table":
        terminal.show(arguments.format, (), found)
    elif found:
        terminal.show("table", COLUMNS, [{name: _cell(task.get(name)) for name in COLUMNS} for task in found])
    return _status(found, terminal)


def _show(arguments: argparse.Namespace, terminal: Terminal) -> int:
    found = _asked(terminal, lambda finder: finder.with_id(arguments.id))
    for task in found:
        match arguments.format:
            case "json":
                terminal.document(task)
            case "jsonl":
                terminal.show("jsonl", (), [task])
            case _:
                rows = [{"field": name, "value": _cell(value)} for name, value in task.items()]
                terminal.show("table", ("field", "value"), rows)
    return _status(found, terminal)


def _asked(terminal: Terminal, ask: Ask) -> Sequence[Task]:
    settings = terminal.settings("tasks")
    from worker.api import Unobserved, open_api  # noqa: PLC0415 - keeps --help fast
    from worker.clock import WallClock  # noqa: PLC0415
    from worker.wiring import api_access  # noqa: PLC0415

    async def asked() -> Sequence[Task]:
        async with open_api(api_access(settings), WallClock(), Unobserved()) as client:
            return await ask(Finder(client, settings.ditio_company_id, terminal.complain))

    return asyncio.run(asked())


def _status(found: Sequence[Task], terminal: Terminal) -> int:
    if not found:
        terminal.complain("nothing matched")
    return 0 if found else NOTHING_MATCHED


def _cell(value: object) -> str | None:
    """A value as a person reads it: text as it is, everything else as JSON has it, nothing for nothing."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _key(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


OPTIONS: Mapping[str, tuple[str, str]] = {
    "project_id": ("ID", "Ditio's id of the project"),
    "project_number": ("NUMBER", "the project's number"),
    "external_project_number": ("NUMBER", "the project's external number"),
    "task_number": ("NUMBER", "the work order's number, which is its external id"),
    "all": ("", "all matches, where several work orders have the number"),
    "external_id": ("ID", "the work order's external id"),
    "production_code": ("CODE", "externalDim01, over all projects"),
}
"""What `find` may be given, in this order: metavariable (none: a switch) and meaning."""

SHOW = """Shows a task as Ditio has it, field by field.

json: the task, an object with Ditio's own field names; jsonl: the same in one line."""

SHOW_EXAMPLE = """  ditio-worker tasks show --id 66a1b2c3d4e5f6a7b8c9d0e2
  ditio-worker tasks show --id 66a1b2c3d4e5f6a7b8c9d0e2 --format json | jq .estimatedHourQty"""

FIND = f"""Shows the tasks that one of Ditio's look-ups gives. They take:

{COMBINATIONS}

A key that no path can hold (. and ..), or that servers are known to mangle in one (such as / and %), is looked for
by listing the project and comparing exactly.

json: an array of the tasks, each an object with Ditio's own field names; jsonl: one such object a line."""

FIND_EXAMPLE = """  ditio-worker tasks find --project-number P-2026-001 --task-number WO-100
  ditio-worker tasks find --project-number P-2026-001 --format jsonl | jq -r 'select(.active) | .externalId'
  ditio-worker tasks find --production-code 0120"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`show` and `find`, each with options of its own."""
    subparsers = parser.add_subparsers(dest="what", title="what to do", metavar="show|find", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    show = subparsers.add_parser(
        "show", help="all fields of one task", description=SHOW, epilog=f"example:\n{SHOW_EXAMPLE}", formatter_class=raw
    )
    show.add_argument("--id", required=True, type=_key, metavar="ID", help="Ditio's id of the task")
    find = subparsers.add_parser(
        "find", help="the tasks that match", description=FIND, epilog=f"example:\n{FIND_EXAMPLE}", formatter_class=raw
    )
    for name, (metavar, meaning) in OPTIONS.items():
        if metavar:
            find.add_argument(flag(name), type=_key, metavar=metavar, help=meaning)
        else:
            find.add_argument(flag(name), action="store_const", const="yes", help=meaning)
    for each in (show, find):
        add_format(each)


COMMAND = Command(
    summary="show tasks as Ditio has them, by each of its look-ups",
    description="Asks Ditio, and changes nothing; only the DITIO_* settings are needed. `show` takes --id, and `find` one of:\n\n"
    f"{COMBINATIONS}\n\n"
    "Their own --help says more, and what the json and jsonl of --format look like. The exit status is 3 when nothing matched.",
    example="  ditio-worker tasks show --id 66a1b2c3d4e5f6a7b8c9d0e2\n"
    "  ditio-worker tasks find --project-number P-2026-001 --task-number WO-100 --all",
    execute=execute,
    arguments=add_arguments,
)
