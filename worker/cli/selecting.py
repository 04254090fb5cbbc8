"""The options that say which dead letters are meant, alike in every command."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import get_args

from worker.core.letter import EPOCH, MICROSECOND
from worker.core.outcome import Reason
from worker.core.selection import Selection, Sort

LARGEST_LOOK = 200_000
"""As in worker.dead; its libraries are slow to import, and --help does without."""

AGO = re.compile(r"([0-9]{1,9})([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
PATTERN = "may hold * and ?"


def add_selection(parser: argparse.ArgumentParser, *, reason: Sequence[str] = ("--reason",)) -> None:
    """The filters. `reason` names the filter by reason beside --failure-reason."""
    group = parser.add_argument_group(
        "which letters", "Of a filter that is given several times one must match, of different filters all."
    )

    def several(option: str, dest: str, metavar: str, meaning: str, *others: str, **more: object) -> None:
        group.add_argument(option, *others, dest=dest, metavar=metavar, action="append", default=[], help=meaning, **more)  # type: ignore[arg-type]

    several("--id", "ids", "ID", "a letter's id, or how it begins")
    several("--failure-reason", "reasons", "REASON", "why it died, such as unresolved-project", *reason, choices=get_args(Reason))
    several("--type", "types", "TYPE", f"the event's type; {PATTERN}")
    several("--source", "sources", "SOURCE", f"the event's source; {PATTERN}")
    several("--project", "projects", "PROJECT", f"the project as the event gives it; {PATTERN}")
    several("--external-id", "external_ids", "ID", f"the work order's number; {PATTERN}")
    several("--status", "statuses", "CODE", "what Ditio answered, such as 400", type=int)
    moment = "a time (2026-03-15T08:00:00Z), a day in UTC (2026-03-15), or how long ago (90m, 12h, 2d)"
    group.add_argument("--since", type=moment_of, metavar="WHEN", help=f"died then or later: {moment}")
    group.add_argument("--until", type=moment_of, metavar="WHEN", help="died before")
    several("--grep", "grep", "REGEX", "found in the body, the detail or Ditio's answer", type=_regex)
    several("--header", "headers", "NAME[=TEXT]", "has the header, with this text; all that are given must match", type=_header)
    group.add_argument(
        "--most",
        type=int,
        default=LARGEST_LOOK,
        metavar="N",
        help="look at up to N letters in all (about 2 kB each); default %(default)s",
    )


def add_order(parser: argparse.ArgumentParser) -> None:
    """Sorting and limit, which come after the filters."""
    parser.add_argument("--sort", choices=get_args(Sort), default="oldest", help="oldest unless given")
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N; what was left out is told")


def selection_of(arguments: argparse.Namespace) -> Selection:
    """What the filters say."""
    return Selection(
        tuple(arguments.ids),
        tuple(arguments.reasons),
        tuple(arguments.types),
        tuple(arguments.sources),
        tuple(arguments.projects),
        tuple(arguments.external_ids),
        tuple(arguments.statuses),
        arguments.since,
        arguments.until,
        tuple(arguments.grep),
        tuple(arguments.headers),
    )


def moment_of(text: str) -> int:
    """A moment in microseconds since 1970. Raises ArgumentTypeError."""
    if ago := AGO.fullmatch(text):
        return (datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])}) - EPOCH) // MICROSECOND
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, such as 2026-03-15T08:00:00Z, 2026-03-15 or 2d") from None
    if moment.tzinfo is None and len(text) > len("2026-03-15"):
        raise argparse.ArgumentTypeError(f"{text!r} has no offset: add Z, or +01:00")
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
    return text


def _header(text: str) -> tuple[str, str | None]:
    name, given, value = text.partition("=")
    return name, value if given else None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of letters")
    return int(text)
