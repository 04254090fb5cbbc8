"""Which dead letters are meant: filters as values. All filters that are given must match; of one filter that is given several times, one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from worker.core.dead_letter import DeadLetter, response
from worker.core.message import Message

Sort: TypeAlias = Literal["oldest", "newest", "work-order", "reason"]

NOWHEN = -1
"""Where a letter without a time stands in an order by time: before all others."""


class Selection(msgspec.Struct, frozen=True):
    """Filters; empty ones let everything pass.

    `types`, `sources`, `projects` and `external_ids` are patterns with `*` and `?`. `since` (from then on) and `until` (before then) are
    microseconds since 1970 and compare with when the letter was written; one that does not say when matches neither. `grep` is a regular
    expression that must be found in the body, the detail or Ditio's answer. `headers` gives names with the text that they must have
    (None: any). `ids` are letter ids, or beginnings of them.
    """

    ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    external_ids: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    since: int | None = None
    until: int | None = None
    grep: tuple[str, ...] = ()
    headers: tuple[tuple[str, str | None], ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is filtered."""
        return self == Selection()


def selected(selection: Selection, letter: DeadLetter, message: Message) -> bool:
    """Whether a letter is meant. Raises nothing, given a `grep` that is a regular expression."""
    told = letter.identity
    return (
        _begins(letter.id, selection.ids)
        and _is_one(letter.reason or "", selection.reasons)
        and _matches(told.type, selection.types)
        and _matches(told.source, selection.sources)
        and _matches(told.project, selection.projects)
        and _matches(told.external_id, selection.external_ids)
        and _is_one(letter.status, selection.statuses)
        and _written(letter.failed_at, selection)
        and _has(message.headers, selection.headers)
        and (not selection.grep or _found(selection.grep, letter, message))
    )


def _begins(letter_id: str, wanted: Sequence[str]) -> bool:
    return not wanted or letter_id.startswith(tuple(wanted))


def _is_one(value: object, wanted: Sequence[object]) -> bool:
    return not wanted or value in wanted


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(_compiled(translate(pattern)).match(text) for pattern in patterns)


def _written(at: int | None, selection: Selection) -> bool:
    if selection.since is None and selection.until is None:
        return True
    return at is not None and (selection.since or at) <= at and (selection.until is None or at < selection.until)


def _has(headers: Mapping[str, object], wanted: Sequence[tuple[str, str | None]]) -> bool:
    return all(name in headers and text in (None, str(headers[name])) for name, text in wanted)


def _found(grep: Sequence[str], letter: DeadLetter, message: Message) -> bool:
    texts = (message.body.decode(errors="replace"), letter.detail, response(message))
    return any(_compiled(pattern).search(text) for pattern in grep for text in texts)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


# --- orders

Item = TypeVar("Item")


def _when(letter: DeadLetter) -> int:
    return NOWHEN if letter.failed_at is None else letter.failed_at


ORDERS: Mapping[Sort, tuple[Callable[[DeadLetter], Any], bool]] = MappingProxyType(
    {
        "oldest": (_when, False),
        "newest": (_when, True),
        "work-order": (lambda letter: (letter.identity.project, letter.identity.external_id, _when(letter)), False),
        "reason": (lambda letter: (letter.reason or "", letter.field, _when(letter)), False),
    }
)
"""What an order goes by, and whether downwards."""


def ordered(items: Iterable[Item], by: Sort, letter_of: Callable[[Item], DeadLetter]) -> list[Item]:
    """The items in an order of their letters; where it says nothing, as they came."""
    key, downwards = ORDERS[by]
    return sorted(items, key=lambda item: key(letter_of(item)), reverse=downwards)
