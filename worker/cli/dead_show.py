"""`ditio-worker dead show`: everything about one letter."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import TYPE_CHECKING, Any

from worker.cli.letters import EACH_SHAPE, desk, entry, in_seconds, knowledge, row
from worker.cli.now import Now, told
from worker.cli.selecting import LARGEST_LOOK
from worker.cli.terminal import Command, Terminal
from worker.config import Settings
from worker.core.dead_letter import response
from worker.core.exported import line_of
from worker.core.identity import project_of
from worker.core.letter import rfc3339
from worker.core.marked import marked
from worker.core.message import Message
from worker.core.selection import Selection

if TYPE_CHECKING:
    from worker.dead import Look, Seen
    from worker.ports import Happened, Task

DONE, FAILED, NOTHING_MATCHED = 0, 1, 3

SHOWN_BYTES = 4_096
"""Of a body that is no JSON."""

CAUSE = ("id", "died", "reason", "field", "detail", "status", "type", "source", "event_id", "project", "external_id", "first_seen",
         "attempts", "waited_s", "replays", "repair", "standing", "who")  # fmt: skip


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Shows the letter whose id begins so."""
    settings = terminal.settings("dead list" if arguments.offline else "dead show")
    look = asyncio.run(_looked(arguments, settings))
    ids = {each.letter.id for each in look.seen}
    if not ids:
        terminal.complain(f"none of the {look.total} dead letters has an id that begins with {arguments.id}")
        return NOTHING_MATCHED
    if len(ids) > 1:
        terminal.complain(f"{len(ids)} letters have an id that begins with {arguments.id}:", *sorted(ids)[:20])
        return FAILED
    if len(look.seen) > 1:
        terminal.complain(f"there are {len(look.seen)} copies of this letter")
    document = asyncio.run(_document(look.seen[0], look, settings, arguments, terminal))
    if arguments.format == "json":
        terminal.document(document)
    else:
        _show(document, look.seen[0].message, terminal)
    return DONE


async def _looked(arguments: argparse.Namespace, settings: Settings) -> Look:
    async with desk(settings, "dead show", arguments.most) as at:
        return await at.look(Selection(ids=(arguments.id,)))


async def _document(
    seen: Seen, look: Look, settings: Settings, arguments: argparse.Namespace, terminal: Terminal
) -> dict[str, Any]:
    message = seen.message or Message(b"")
    async with knowledge(settings, terminal) as known:
        standing = await known.standing(seen, look)
        order = await known.work_order(seen.letter)
        history = await known.history(order.key) if order is not None else ()
    now, unknown = ([], "Ditio was not asked (--offline)") if arguments.offline else await _now(seen, message, settings, terminal)
    return {
        **entry(seen.letter, standing),
        "response": response(message),
        "message": json.loads(line_of(seen.letter.id, message)),
        "history": [line(each) for each in history],
        "now": now,
        "now_unknown": unknown,
    }


async def _now(seen: Seen, message: Message, settings: Settings, terminal: Terminal) -> tuple[list[Task], str]:
    project, external_id = project_of(message), seen.letter.identity.external_id
    if project is None or not external_id:
        return [], "the event names no work order"
    from worker.api import Unobserved, open_api  # noqa: PLC0415 - keeps --help fast
    from worker.cli.lookups import Finder  # noqa: PLC0415
    from worker.clock import WallClock  # noqa: PLC0415
    from worker.wiring import api_access  # noqa: PLC0415

    async with open_api(api_access(settings), WallClock(), Unobserved()) as client:
        found, unknown = await Now(Finder(client, settings.ditio_company_id, terminal.complain)).of(project, external_id)
    return list(found), terminal.mask.clean(unknown)


def line(happened: Happened) -> dict[str, Any]:
    """A line of history as JSON has it."""
    return {
        "at": rfc3339(happened.at),
        "outcome": happened.outcome,
        "type": happened.type,
        "source": happened.source,
        "event_id": happened.id,
        "time": happened.time,
        "first_seen": rfc3339(happened.first_seen) if happened.first_seen else None,
        "calls": list(happened.calls),
        "before": dict(happened.before),
        "detail": happened.detail,
    }


HISTORY = ("at", "outcome", "type", "time", "calls", "before", "detail", "event_id")


def history_row(entry: dict[str, Any]) -> dict[str, Any]:
    """The same as the table has it."""
    before = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in entry["before"].items())
    return {**entry, "at": in_seconds(entry["at"]), "calls": " ".join(entry["calls"]), "before": before}


def _show(document: dict[str, Any], message: Message | None, terminal: Terminal) -> None:
    shown = row(document)
    _section("cause", [{"": name, "value": shown[name]} for name in CAUSE if shown[name] not in (None, "", 0)], terminal)
    if document["response"]:
        terminal.say("", "what Ditio answered", document["response"])
    terminal.say("", "body", *_body(message, document["field"]))
    headers = document["message"].get("headers", {})
    _section("headers", [{"name": name, "value": _cell(value)} for name, value in headers.items()], terminal)
    if document["history"]:
        terminal.say("", "history of its work order")
        terminal.show("table", HISTORY, [history_row(each) for each in document["history"]])
    terminal.say("", "what Ditio has now")
    if document["now_unknown"]:
        terminal.say(document["now_unknown"])
    for task in document["now"]:
        terminal.show("table", ("field", "value"), [{**each, "value": _cell(each["value"])} for each in told(task)])


def _section(title: str, rows: list[dict[str, Any]], terminal: Terminal) -> None:
    if not rows:
        return
    terminal.say(*(() if title == "cause" else ("", title)))
    width = max(len(str(next(iter(each.values())))) for each in rows)
    for each in rows:
        name, value = each.values()
        terminal.say(f"{name:<{width}}  {_one_line(str(value))}")


def _body(message: Message | None, field: str) -> list[str]:
    if message is None:
        return ["its body is too large to be held"]
    lines = marked(message.body, field)
    if lines is not None:
        return lines
    cut = message.body[:SHOWN_BYTES]
    text = cut.decode(errors="backslashreplace")
    more = [f"… {len(message.body)} bytes in all"] if len(message.body) > SHOWN_BYTES else []
    return [_one_line(each) for each in text.split("\n")] + more if message.body else ["(empty)"]


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The letter, and how it is shown."""
    parser.add_argument("id", metavar="ID", help="the letter's id, or how it begins")
    parser.add_argument(
        "--offline", action="store_true", help="do not ask Ditio what it has now; then no DITIO_* setting is needed"
    )
    parser.add_argument(
        "--most", type=int, default=LARGEST_LOOK, metavar="N", help="look at up to N letters in all; default %(default)s"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="table unless given")


COMMAND = Command(
    summary="cause, body with the offending field marked, headers, history, and what Ditio has now",
    description="Shows everything about one dead letter. The history is that of its work order, from the ledger (LEDGER_URL).\n\n"
    f"json: {{{EACH_SHAPE},\n"
    '  "response": …, "message": a line of `dead export`, "history": [{"at": …, "outcome": …, "type": …, "source": …, "event_id": …, "time": …,\n'
    '  "first_seen": …, "calls": […], "before": {…}, "detail": …}, …], "now": [Ditio\'s own object, …], "now_unknown": why there is none}',
    example="  ditio-worker dead show 3f2a9c\n  ditio-worker dead show 3f2a9c --format json | jq .message.body",
    execute=execute,
    arguments=add_arguments,
)
