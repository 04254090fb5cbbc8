"""`ditio-worker waiting list`: what waits for what, since when."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, get_args

from worker.cli.opening import broker, reading_ledger, utc
from worker.cli.terminal import Command, Row, Terminal, add_format
from worker.config import Settings
from worker.core.errors import BrokerError
from worker.core.outcome import WaitKind

if TYPE_CHECKING:
    from worker.ledger import Aside

NOTHING = 3
GROUPS = ("kind", "project", "events", "work_orders", "since", "detail")
EACH = ("kind", "project", "external_id", "event_id", "since", "back_at", "detail")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Shows what the ledger knows of the wait queues, without looking into them."""
    settings = terminal.settings("waiting")
    found, remark = asyncio.run(_look(settings))
    if remark:
        terminal.complain(remark)
    chosen = [each for each in found if _matches(each, arguments)]
    rows = [_row(each) for each in chosen] if arguments.each else groups(chosen)
    if chosen or arguments.format != "table":
        terminal.show(arguments.format, EACH if arguments.each else GROUPS, rows)
    return 0 if chosen else NOTHING


def groups(asides: Iterable[Aside]) -> list[Row]:
    """The events by kind, project and cause, those that wait longest first."""
    together: dict[tuple[str, str, str], list[Aside]] = {}
    for each in asides:
        together.setdefault((each.kind, each.project, each.detail), []).append(each)
    return [
        {
            "kind": kind,
            "project": project,
            "events": len(members),
            "work_orders": len({each.external_id for each in members}),
            "since": utc(min(each.since for each in members) / 1_000_000),
            "detail": detail,
        }
        for (kind, project, detail), members in together.items()
    ]


def unknown_to_ledger(in_queues: int, asides: Sequence[Aside], now: float) -> str:
    """A remark when the wait queues hold more than the ledger knows of: after a ledger was lost."""
    known = sum(each.back_at / 1_000_000 > now for each in asides)
    if in_queues <= known:
        return ""
    return (
        f"the wait queues hold {in_queues} messages, and the ledger knows of {known}: the others (put there with another ledger) "
        "show here once they have come back"
    )


async def _look(settings: Settings) -> tuple[Sequence[Aside], str]:
    from worker.rabbit import depth  # noqa: PLC0415
    from worker.wiring import topology_of  # noqa: PLC0415

    async with reading_ledger(settings) as reader:
        asides = await reader.waiting()
    try:
        async with broker(settings, "waiting") as connection:
            in_queues = sum([(await depth(connection, queue))[0] for queue in topology_of(settings).waits.values()])
    except BrokerError as error:
        return asides, f"as the ledger knows it; the broker could not be asked: {error}"
    return asides, unknown_to_ledger(in_queues, asides, time.time())


def _matches(aside: Aside, arguments: argparse.Namespace) -> bool:
    return (
        arguments.kind in (None, aside.kind)
        and arguments.project in (None, aside.project, aside.project_id)
        and arguments.external_id in (None, aside.external_id)
    )


def _row(aside: Aside) -> Row:
    return {
        "kind": aside.kind,
        "project": aside.project,
        "external_id": aside.external_id,
        "event_id": aside.id,
        "event_type": aside.type,
        "event_source": aside.source,
        "state": aside.state,
        "reason": aside.reason,
        "field": aside.field or None,
        "detail": aside.detail,
        "since": utc(aside.since / 1_000_000),
        "back_at": utc(aside.back_at / 1_000_000),
        "waited_s": aside.waited_s,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to list, filters and format."""
    parser.add_argument("action", choices=("list",), help="list: show what waits")
    parser.add_argument("--kind", choices=get_args(WaitKind), help="only what waits for this")
    parser.add_argument("--project", metavar="P", help="only this project, as the events give it, or its id")
    parser.add_argument("--external-id", metavar="E", help="only this work order")
    parser.add_argument("--each", action="store_true", help="every event instead of groups")
    add_format(parser)


COMMAND = Command(
    summary="what waits for what, since when",
    description="Shows the events that wait for a project, a parent or a person that is not in Ditio (yet), for the end of a request\n"
    "that was given up (settling), or because Ditio fails on them (failing): in groups of one cause, those that wait longest first.\n"
    "It asks the ledger, and does not touch the queues. `since` is when the first of them was received. The exit status is 3\n"
    "when nothing waits.\n\n"
    'json: [{"kind": …, "project": …, "events": n, "work_orders": n, "since": …, "detail": …}, …]; with --each\n'
    '[{"kind", "project", "external_id", "event_id", "event_type", "event_source", "state": "missing"|"stale", "reason", "field",\n'
    '"detail", "since", "back_at" (when it comes back from its wait queue), "waited_s"}, …]; jsonl: one such object a line.',
    example="  ditio-worker waiting list\n  ditio-worker waiting list --kind parent --project P-2026-001 --each --format jsonl",
    execute=execute,
    arguments=add_arguments,
)
