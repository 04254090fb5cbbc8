"""Dead letters as the commands show them, and the way to them."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from worker.cli.replay_left import tidied
from worker.cli.terminal import Terminal
from worker.config import Settings
from worker.core.dead_letter import DeadLetter
from worker.core.errors import BrokerError
from worker.core.letter import rfc3339
from worker.core.standing import ADVICE, Standing, who

if TYPE_CHECKING:  # slow to import, and --help does without
    from worker.dead import Desk, Knowledge, Seen

GROUPED = ("count", "reason", "type", "source", "status", "field", "oldest", "newest", "who", "sample")
EACH = ("id", "died", "reason", "field", "project", "external_id", "standing", "who", "detail")
MOST_BODIES = 32 * 1_048_576
"""Bytes of bodies that are held to tell what is superseded: with them a hundred thousand letters stay below 300 MB."""

UNKNOWN = "unknown"
"""The reason of what no worker wrote."""

GROUP_SHAPE = '"reason": …, "type": …, "source": …, "status": n or null, "field": …, "count": n, "oldest": …, "newest": …, "who": …, "sample": id'
EACH_SHAPE = """"id": …, "died": …, "reason": …, "field": …, "detail": …, "status": n or null, "type": …, "source": …, "event_id": …,
  "project": …, "external_id": …, "first_seen": …, "attempts": n, "waited_s": n, "replays": n, "repair": n, "bytes": n, "foreign": true|false,
  "standing": "superseded"|"together"|"fix", "who": …"""
"""What JSON has of a group and of a letter. Times are RFC 3339 in UTC, or null."""


@asynccontextmanager
async def desk(settings: Settings, doing: str, most: int) -> AsyncIterator[Desk]:
    """The dead letters of these settings, while the lock is held; copies that an interrupted replay left are gone first.

    Raises LockHeld or BrokerError.
    """
    from worker.dead import opened  # noqa: PLC0415
    from worker.rabbit import TooMany  # noqa: PLC0415
    from worker.wiring import broker_access, topology_of  # noqa: PLC0415

    try:
        async with opened(broker_access(settings), topology_of(settings), doing, most=most) as at:
            await tidied(at, settings)
            yield at
    except TooMany as error:
        raise BrokerError(f"{error}: --most {error.ready} does, with about 2 kB each here and at the broker") from error


@asynccontextmanager
async def knowledge(settings: Settings, terminal: Terminal) -> AsyncIterator[Knowledge]:
    """What the ledger of these settings knows about letters; nothing, which is told, where there is none that can be read."""
    from worker import ledger  # noqa: PLC0415
    from worker.clock import WallClock  # noqa: PLC0415
    from worker.core.decode import decode  # noqa: PLC0415
    from worker.core.errors import LedgerError  # noqa: PLC0415
    from worker.dead import Knowledge  # noqa: PLC0415
    from worker.wiring import rules_of  # noqa: PLC0415

    rules = rules_of(settings)
    try:
        known = await ledger.open_read_only(settings.ledger_url().place, clock=WallClock())
    except LedgerError as error:
        terminal.complain(f"what is superseded cannot be told: {error}")
        known = None
    try:
        yield Knowledge(known, lambda message: decode(message, rules), rules.order_by)
    finally:
        if known is not None:
            await known.close()


def grouped(letters: Iterable[DeadLetter]) -> list[dict[str, Any]]:
    """A row for each reason × type × source × status × field, the largest first."""
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for letter in letters:
        told = letter.identity
        key = (letter.reason, told.type, told.source, letter.status, letter.field)
        row = groups.get(key)
        if row is None:
            groups[key] = row = {
                "reason": letter.reason or UNKNOWN, "type": told.type, "source": told.source, "status": letter.status,
                "field": letter.field, "count": 0, "oldest": None, "newest": None, "who": who(letter.reason), "sample": letter.id,
            }  # fmt: skip
        row["count"] += 1
        if (at := letter.failed_at) is not None:
            row["oldest"] = at if row["oldest"] is None else min(row["oldest"], at)
            row["newest"] = at if row["newest"] is None else max(row["newest"], at)
    rows = sorted(groups.values(), key=lambda row: -row["count"])
    return [{**row, "oldest": moment(row["oldest"]), "newest": moment(row["newest"])} for row in rows]


def entry(letter: DeadLetter, standing: Standing) -> dict[str, Any]:
    """A letter as JSON has it."""
    told = letter.identity
    return {
        "id": letter.id,
        "died": moment(letter.failed_at),
        "reason": letter.reason or UNKNOWN,
        "field": letter.field,
        "detail": letter.detail,
        "status": letter.status,
        "type": told.type,
        "source": told.source,
        "event_id": told.id,
        "project": told.project,
        "external_id": told.external_id,
        "first_seen": moment(letter.first_seen),
        "attempts": letter.attempts,
        "waited_s": letter.waited_s,
        "replays": letter.replays,
        "repair": letter.repair,
        "bytes": letter.size,
        "foreign": letter.foreign,
        "standing": standing,
        "who": who(letter.reason),
    }


def row(entry: dict[str, Any]) -> dict[str, Any]:
    """The same as the table has it: times in whole seconds, the advice in words."""
    return {**entry, "died": in_seconds(entry["died"]), "standing": ADVICE[entry["standing"]]}


def moment(microseconds: int | None) -> str | None:
    """A time as RFC 3339."""
    return None if microseconds is None else rfc3339(microseconds)


def in_seconds(text: str | None) -> str:
    """The same without the fraction, as tables have it."""
    return f"{text.partition('.')[0]}Z" if text else ""


def limited(seen: Sequence[Seen], arguments: argparse.Namespace, tell: Callable[[str], None]) -> list[Seen]:
    """The letters in the order and up to the limit that was given; what is left out is told."""
    from worker.core.selection import ordered  # noqa: PLC0415

    items = ordered(seen, arguments.sort, lambda each: each.letter)
    if arguments.limit is not None and len(items) > arguments.limit:
        tell(f"only the first {arguments.limit} of {len(items)} letters that match (--limit)")
        items = items[: arguments.limit]
    return items
